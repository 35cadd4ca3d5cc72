"""The drift check's last word: an asset event per drifted cluster, or none and why."""

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

    from node_rotation.model import Blocker
    from node_rotation.outcome import Blocked

DRIFT = Asset(name=DRIFT_ASSET, uri=DRIFT_ASSET_URI)
"""Its partitions are drifted clusters; each starts one rotation."""


class PublishDriftOperator(RotationOperator):
    """No event is made where nothing drifted: skipped; where that can't be said, failed.

    :param drifts: what the detect tasks returned.
    """

    template_fields: Sequence[str] = ("drifts",)

    def __init__(self, *, drifts: Any, **kwargs: Any) -> None:
        super().__init__(outlets=[DRIFT], **kwargs)
        self.drifts = drifts

    def work(self, context: Context) -> dict[str, Any]:
        """Publish, or say why not.

        :raises AirflowSkipException: if nothing drifted, or the image is only held back.
        :raises BlockedError: if somebody has to do something first.
        """
        from node_rotation.blockers import in_the_way, left_out
        from node_rotation_airflow.params import PIN
        from node_rotation_airflow.partitions import split

        partition = split(context["dag_run"].partition_key or "", datetime.now(UTC))
        drifted: Mapping[str, int] = {d["group"]: len(d["drifted"]) for d in self.drifts if d["drifted"]}
        found = {drift["group"]: _blockers(drift) for drift in self.drifts}
        blockers, passed_over = in_the_way(found, drifted), left_out(found, drifted)
        if not drifted:
            _refuse(partition.cluster, blockers)
        extra: dict[str, Any] = {
            "environment": partition.environment,
            "cluster": partition.cluster,
            "night": partition.night.isoformat(),
            "drifted": dict(drifted),
        }
        if blockers:
            extra["blocked"] = [blocker.reason for blocker in blockers]
        if passed_over:
            extra["left_out"] = list(passed_over)
        if context["params"].get(PIN):
            extra[PIN] = True
        context["outlet_events"][DRIFT].extra = extra
        self.log.info("drift in %s: %s", partition.cluster, drifted)
        for note in passed_over:
            self.log.warning("%s", note)
        for blocker in blockers:
            self.log.warning("its plan will be refused: %s", _together(partition.cluster, (blocker,)))
        return extra


def _blockers(drift: Mapping[str, Any]) -> tuple[Blocker, ...]:
    from node_rotation.model import Blocker

    return tuple(Blocker.model_validate(blocker) for blocker in drift.get("blockers") or ())


def _refuse(cluster: str, blockers: Sequence[Blocker]) -> None:
    """Nothing drifted, as far as can be said: skipped if that is all, or if what stands in the way ends by itself."""
    from node_rotation.errors import BlockedError

    if not blockers:
        raise AirflowSkipException(f"no drift in {cluster}")
    broken = tuple(blocker for blocker in blockers if not blocker.held_back)
    if not broken:
        raise AirflowSkipException(f"nothing to roll out: {_together(cluster, blockers)}")
    raise BlockedError(_together(cluster, (*broken, *(b for b in blockers if b.held_back))))


def _together(cluster: str, blockers: Sequence[Blocker]) -> Blocked:
    """All of them as one message."""
    from node_rotation.outcome import Blocked

    remedies = dict.fromkeys(blocker.remedy.rstrip(".") for blocker in blockers if blocker.remedy)
    return Blocked(
        f"{cluster}: {'; '.join(blocker.reason for blocker in blockers)}",
        tuple(dict.fromkeys(one for blocker in blockers for one in blocker.objects)),
        f"{'; '.join(remedies)}." if remedies else "",
    )
