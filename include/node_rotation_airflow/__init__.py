"""Node rotation in Airflow: operators, triggers, hooks and a timetable around ``node_rotation``."""
