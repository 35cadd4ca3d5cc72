"""Stories of two kinds of clusters that share a proving ground and its Airflow; both stop with the last of them."""
