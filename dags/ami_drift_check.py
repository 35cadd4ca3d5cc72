"""### Which nodes run an outdated image?

Every night (`night` in the fleet file says when), cluster after cluster in promotion order: compares every machine
with the image its node group should run, and publishes the clusters that drifted. Each starts a run of `rotate_nodes`.

Reads only. A partition is one night of one cluster, `2026-11-09~prod.eu-1`: the date on which the night
begins where the fleet file has it begin. Past nights are answered by a backfill:
`airflow backfill create --dag-id ami_drift_check --from-date 2026-11-08 --to-date 2026-11-09 --max-active-runs 1`.
A rotation that waits ends superseded once there is a newer image than its night's; `--dag-run-conf '{"pin": true}'`
has it roll out its night's image all the same.

Where it can't be said what a group should run, the check fails and says why; it is skipped with the reason where the
image only soaks, or is frozen.
"""

from __future__ import annotations

from airflow.sdk import DAG

from node_rotation_airflow.constants import DRIFT_CHECK, REQUEST_TASK
from node_rotation_airflow.defaults import dag_defaults
from node_rotation_airflow.fleet_file import cluster_names, night
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.publish import PublishDriftOperator
from node_rotation_airflow.operators.request import RequestOperator
from node_rotation_airflow.params import check_params
from node_rotation_airflow.timetables import FleetTimetable

with DAG(
    DRIFT_CHECK,
    schedule=FleetTimetable(cluster_names(), night()),
    params=check_params(),
    max_active_runs=8,
    **dag_defaults(__doc__),
):
    request = RequestOperator(task_id=REQUEST_TASK, known=tuple(check_params()))
    detect = DetectOperator.partial(task_id="detect", map_index_template="{{ task.group }}").expand(
        group=request.output
    )
    PublishDriftOperator(task_id="publish", drifts=detect.output)
