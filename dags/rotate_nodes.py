"""### Replace every drifted node of one cluster

Started by `ami_drift_check` for each drifted cluster, by an asset event with a partition key ("a new image was
built"), or by hand with the form. The plan is pinned first; then every batch goes through admit, launch, cordon,
drain, terminate and health gate. Whatever happens, groups are restored and the run is verified at its end.

Where the policy asks for it, somebody approves the plan first; then the run waits for its maintenance window and for
the environments before it. Until `opened` nothing is touched: rejected, superseded or not answered, it ends skipped.

A batch that the maintenance window has no room for any more is left to a run to come: what is in flight is finished,
everything is given back, and the run fails as not finished.

A failed gate holds later batches (or skips or fails them, by policy): clear the failed `health_gate` to go on.
The wiring is docs/adr's: setups, teardowns and their order are not decoration.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, task_group

from node_rotation_airflow.constants import APPROVE_TASK, BATCH_GROUP, PLAN_TASK, REQUEST_TASK, ROTATE_NODES, WAIT_TASK
from node_rotation_airflow.defaults import dag_defaults
from node_rotation_airflow.fleet_file import cluster_names, group_names, runs_at_once
from node_rotation_airflow.operators.admit import AdmitOperator
from node_rotation_airflow.operators.approve import ApprovePlanOperator
from node_rotation_airflow.operators.clear import ClearOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.heal import HealOperator
from node_rotation_airflow.operators.plan import OpenOperator, PlanOperator
from node_rotation_airflow.operators.publish import DRIFT
from node_rotation_airflow.operators.report import ReportOperator
from node_rotation_airflow.operators.request import RequestOperator
from node_rotation_airflow.operators.step import (
    CordonOperator,
    DrainOperator,
    HealthGateOperator,
    LaunchOperator,
    PrepareOperator,
    RestoreOperator,
    TerminateOperator,
)
from node_rotation_airflow.operators.verify import VerifyOperator
from node_rotation_airflow.params import rotation_params

BY_GROUP = "{{ task.group }}"

with DAG(
    ROTATE_NODES,
    schedule=PartitionedAssetTimetable(assets=DRIFT),
    params=rotation_params(cluster_names(), group_names()),
    max_active_runs=runs_at_once(),
    **dag_defaults(__doc__),
) as dag:
    request = RequestOperator(task_id=REQUEST_TASK)
    detect = DetectOperator.partial(task_id="detect", map_index_template=BY_GROUP).expand(group=request.output)
    plan = PlanOperator(task_id=PLAN_TASK, drifts=detect.output)

    approve = ApprovePlanOperator(task_id=APPROVE_TASK, batches=plan.output)
    wait = ClearOperator(task_id=WAIT_TASK, batches=plan.output)
    opened = OpenOperator(task_id="opened", batches=plan.output)
    opened.is_setup = True
    prepare = PrepareOperator.partial(task_id="prepare", map_index_template=BY_GROUP).expand(group=opened.output)

    @task_group(group_id=BATCH_GROUP)
    def rotate_batch(spec: Any) -> None:
        """One batch, from admission to its gate."""
        admit = AdmitOperator(task_id="admit", spec=spec, gate_task_id=f"{BATCH_GROUP}.health_gate")
        launch = LaunchOperator(task_id="launch", spec=spec)
        cordon = CordonOperator(task_id="cordon", spec=spec)
        drain = DrainOperator(task_id="drain", spec=spec)
        terminate = TerminateOperator(task_id="terminate", spec=spec)
        gate = HealthGateOperator(task_id="health_gate", spec=spec)
        steps = [admit, launch, cordon, drain, terminate, gate]
        heal = HealOperator(task_id="heal", spec=spec, step_task_ids=[step.task_id for step in steps])
        # A teardown, so that the gate stays the leaf that decides; of `opened`, for a teardown of `admit` would
        # not run once a run is marked failed.
        heal.as_teardown(setups=opened)
        admit >> launch >> cordon >> drain >> terminate >> gate >> heal

    batch = rotate_batch.expand(spec=plan.output)
    heal = dag.get_task(f"{BATCH_GROUP}.heal")

    restore = RestoreOperator.partial(task_id="restore", map_index_template=BY_GROUP).expand(group=opened.output)
    restore.as_teardown(setups=opened)
    verify = VerifyOperator(task_id="verify").as_teardown(on_failure_fail_dagrun=True)
    report = ReportOperator(task_id="report").as_teardown()

    plan >> approve >> wait >> opened >> prepare >> batch >> restore >> verify >> report
    [prepare, heal] >> restore
    batch >> verify
    heal >> verify
