"""### Clean up after dead runs

Every hour, cluster by cluster: where the lock of a run has expired, its failed batches are healed and its groups
restored, and whatever else it left (taints, tags, suspended processes, detached machines) goes away. A cluster that
a live run rotates is not touched. What can't be cleaned up fails the task and is named in its log.
"""

from __future__ import annotations

from airflow.sdk import DAG

from node_rotation_airflow.constants import SWEEP_RESIDUE, SWEEP_RETRIES
from node_rotation_airflow.defaults import dag_defaults
from node_rotation_airflow.fleet_file import cluster_names
from node_rotation_airflow.operators.sweep import SWEEP_POLICY, SweepOperator

with DAG(SWEEP_RESIDUE, schedule="@hourly", max_active_runs=1, **dag_defaults(__doc__)):
    SweepOperator.partial(task_id="sweep", retries=SWEEP_RETRIES, retry_policy=SWEEP_POLICY).expand(
        cluster=list(cluster_names())
    )
