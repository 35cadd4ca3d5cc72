"""``make demo``: an image goes through three environments, after a bad one that dev finds out.

``make demo ENVIRONMENT=dev``: one environment that has drifted already, rotated by Airflow and watched by an observer.
"""
