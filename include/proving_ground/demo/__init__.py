"""`make demo`: one environment that has drifted already, rotated by Airflow and watched by an observer.

``make demo ENVIRONMENT=all``: an image goes through three environments, after a bad one that dev finds out.
"""
