"""The drift check's last word: an asset event per drifted cluster, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException

from node_rotation_airflow.constants import DRIFT_ASSET, DRIFT_ASSET_URI
from node_rotation_airflow.operators.base import RotationOperator

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

DRIFT = Asset(name=DRIFT_ASSET, uri=DRIFT_ASSET_URI)
"""Its partitions are drifted clusters; each starts one rotation."""


class PublishDriftOperator(RotationOperator):
    """Skips, so that no event is made, when nothing drifted.

    :param drifts: what the detect tasks returned.
    """

    template_fields: Sequence[str] = ("drifts",)

    def __init__(self, *, drifts: Any, **kwargs: Any) -> None:
        super().__init__(outlets=[DRIFT], **kwargs)
        self.drifts = drifts

    def work(self, context: Context) -> dict[str, Any]:
        """Publish, or skip."""
        from node_rotation_airflow.partitions import split

        partition = split(context["dag_run"].partition_key or "", datetime.now(UTC))
        drifted: Mapping[str, int] = {d["group"]: len(d["drifted"]) for d in self.drifts if d["drifted"]}
        if not drifted:
            raise AirflowSkipException(f"no drift in {partition.cluster}")
        extra: dict[str, Any] = {
            "environment": partition.environment,
            "cluster": partition.cluster,
            "night": partition.night.isoformat(),
            "drifted": dict(drifted),
        }
        context["outlet_events"][DRIFT].extra = extra
        self.log.info("drift in %s: %s", partition.cluster, drifted)
        return extra
