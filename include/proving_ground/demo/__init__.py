"""`make demo`: Airflow finds image drift and replaces every drifted node, watched by an observer."""
