"""Airflow operators, triggers and hooks around the node_rotation library."""
