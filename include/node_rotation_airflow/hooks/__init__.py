"""Hooks: Airflow connections become the clients of ``node_rotation``."""
