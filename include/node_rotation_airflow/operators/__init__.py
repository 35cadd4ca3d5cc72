"""Operators: glue between Airflow and ``node_rotation``."""
