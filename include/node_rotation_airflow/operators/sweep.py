"""Cleans up after dead runs, cluster by cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from node_rotation_airflow import fleet_file
from node_rotation_airflow.constants import SWEEP_AGAIN_S, SWEEP_RETRIES
from node_rotation_airflow.operators.base import RotationOperator
from node_rotation_airflow.operators.request import discovered
from node_rotation_airflow.retry import RotationRetryPolicy

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

SWEEP_POLICY = RotationRetryPolicy(SWEEP_RETRIES, longest_pause_s=SWEEP_AGAIN_S)


class SweepOperator(RotationOperator):
    """Removes what a dead run left in one cluster; touches nothing while a live run holds its lock.

    :param cluster: ``environment.cluster``; mapped.
    """

    template_fields: Sequence[str] = ("cluster",)

    def __init__(self, *, cluster: str, **kwargs: Any) -> None:
        super().__init__(**{"map_index_template": "{{ task.cluster }}", **kwargs})
        self.cluster = cluster

    def work(self, context: Context) -> list[str]:
        """Sweep; machines and pods leave at their own pace, so what is left is swept again after a moment.

        What is left in the end fails the task, so that somebody knows, and is for the next hour.

        :raises TransientError: something is left: a retry, which holds no worker until it begins.
        """
        from node_rotation.errors import TransientError
        from node_rotation.fleet import load
        from node_rotation.sweep import sweep
        from node_rotation_airflow.runs import connect, outside

        settings = discovered(load(fleet_file.path()).settings(self.cluster), to_plan=False)
        swept = sweep(
            settings, *connect(settings), holder=f"sweep {context['ti'].run_id}", outside=outside(commands=False)
        )
        if swept.held_by:
            self.log.info("%s is being rotated by %s", self.cluster, swept.held_by)
        for line in swept.did:
            self.log.info("%s", line)
        if swept.left:
            raise TransientError(f"left in {self.cluster}: {'; '.join(swept.left)}", SWEEP_AGAIN_S)
        return list(swept.did)
