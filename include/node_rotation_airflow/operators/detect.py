"""Which machines of one node group are not what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from node_rotation_airflow.operators.base import RotationOperator, request_of

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class DetectOperator(RotationOperator):
    """Reads only.

    :param group: the node group's name; mapped.
    """

    template_fields: Sequence[str] = ("group",)

    def __init__(self, *, group: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.group = group

    def work(self, context: Context) -> dict[str, Any]:
        """Look, and say it in the log; returns a ``GroupDrift``."""
        from node_rotation.detect import detect, observe
        from node_rotation.drift import cluster_notes
        from node_rotation_airflow import metrics
        from node_rotation_airflow.runs import freezes, look_only

        request = request_of(context)
        world = look_only(request.settings)
        snapshot = observe(request.settings, *world)
        frozen = freezes(request.settings, world)()
        found = detect(request.settings, self.group, *world, request.as_of, snapshot=snapshot, frozen=frozen)
        if request.as_of is None:  # a past night's drift is no news
            metrics.send(metrics.of_drift(request.settings, found), self.log)
        target = found.target.image if found.target else None
        self.log.info("%s: %d of %d machines drifted", self.group, len(found.drifted), found.machines)
        if found.target and target:
            self.log.info("target %s (%s) from %s", target.id, target.name, found.target.source)
        for machine in found.drifted:
            self.log.info("%s %s: %s", machine.instance_id, machine.node, ", ".join(machine.reasons))
        for note in (*found.notes, *cluster_notes(snapshot)):
            self.log.warning("%s", note)
        for blocker in found.blockers:
            self.log.warning("%s (%s). %s", blocker.reason, ", ".join(blocker.objects), blocker.remedy)
        return found.model_dump(mode="json")
