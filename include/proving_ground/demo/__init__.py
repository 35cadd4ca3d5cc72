"""`make demo`: an image goes through three environments, rotated by Airflow and watched by observers.

``make demo ENVIRONMENT=dev`` is the short form: one environment that has drifted already.
"""
