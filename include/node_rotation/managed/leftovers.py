"""What EKS leaves in a managed node group after an update that it gave up: machines on top, cordoned nodes.

EKS' user guide says of neither that anybody takes it back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from node_rotation.managed.nodegroup import ManagedGroup
from node_rotation.model import GroupPlan
from node_rotation.names import EXCLUDE_BALANCERS
from node_rotation.world.aws import Instance, ScalingGroup
from node_rotation.world.snapshot import Snapshot

AGAIN = "correct what the update failed by and rotate again"


def left_behind(
    plan: GroupPlan, group: ManagedGroup, planned: Collection[str], since: float, snapshot: Snapshot
) -> Iterator[str]:
    """Each thing with what to do; nothing while EKS works on the group, or once what was planned is replaced.

    :param planned: instance ids of the machines that were to be replaced.
    :param since: when the plan was made, epoch seconds.
    """
    scaling = snapshot.groups.get(group.asg)
    if scaling is None or group.in_flight is not None:
        return
    members = [found for m in scaling.members if (found := snapshot.instances.get(m.instance_id)) is not None]
    if not any(instance.id in planned for instance in members):
        return
    if scaling.desired > plan.size:
        came = [i.id for i in members if i.id not in planned and i.launched_at >= since]
        yield _larger(plan, group, scaling, came)
    yield from _cordoned(group, members, snapshot)


def _larger(plan: GroupPlan, group: ManagedGroup, scaling: ScalingGroup, came: Collection[str]) -> str:
    machines = f"machines that came since: {', '.join(sorted(came))}" if came else "no machine came since"
    back = f"aws eks update-nodegroup-config --cluster-name {group.cluster} --nodegroup-name {group.name}"
    return (
        f"node group {group.label} has desired {scaling.desired}, {plan.size} when it was planned ({machines}): "
        f"{AGAIN}, or, unless somebody scaled it up, set it back, and the max size that EKS raised as well: "
        f"{back} --scaling-config desiredSize={plan.size}"
    )


def _cordoned(group: ManagedGroup, members: Collection[Instance], snapshot: Snapshot) -> Iterator[str]:
    ids = {instance.id for instance in members}
    found = {node.name: node for node in snapshot.nodes if node.instance_id in ids and node.unschedulable}
    if not found:
        return
    names = " ".join(sorted(found))
    marked = " ".join(sorted(name for name, node in found.items() if EXCLUDE_BALANCERS in node.labels))
    balanced = f" and kubectl label node {marked} {EXCLUDE_BALANCERS}-" if marked else ""
    yield (
        f"nodes of node group {group.label} are cordoned: {AGAIN}, or, unless somebody else cordoned them, "
        f"kubectl uncordon {names}{balanced}"
    )
