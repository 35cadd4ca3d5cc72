"""Which machines are not what their target says, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node_rotation.model import DriftedMachine, DriftReason, GroupDrift, Image, TemplateVersion
from node_rotation.names import DETACHED_FROM, MARK
from node_rotation.policy import Policy
from node_rotation.target import Choice
from node_rotation.world.aws import GONE_STATES, GROUP_TAG, LEFT_ALONE, Instance, Member, ScalingGroup
from node_rotation.world.kubernetes import Node, Pod
from node_rotation.world.snapshot import Snapshot

PROVIDER_ID = "Have the cloud controller manager, or the kubelet (--provider-id), set its spec.providerID."
"""What to do about a Node that names no machine."""
NAMED = 3
"""So many nodes a line names; the others it counts."""


@dataclass(frozen=True, slots=True)
class _Compared:
    choice: Choice
    policy: Policy
    images: Mapping[str, Image]
    now: float


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
    """Compare the machines of a group with its target. Without a target nothing is said to have drifted.

    :param group: the node group's name.
    :param asg: its Auto Scaling group's name, a key of ``snapshot.groups``.
    :param choice: the target, from :func:`node_rotation.target.choose`.
    :param images: known images by id; machines on a newer image than the target are left alone.
    :param now: epoch seconds.
    """
    scaling = snapshot.groups[asg]
    nodes = {node.instance_id: node for node in snapshot.nodes if node.instance_id}
    pods = _pods_to_move(snapshot.pods)
    compared = _Compared(choice, policy, images, now)
    drifted = []
    for member in scaling.members:
        instance, node = snapshot.instances.get(member.instance_id), nodes.get(member.instance_id)
        reasons = _reasons(compared, member, instance, node) if instance else ()
        if instance is not None and reasons:
            drifted.append(_machine(member, instance, node, now, pods, reasons))
    return GroupDrift(
        group=group,
        asg=asg,
        target=choice.target,
        machines=len(scaling.members),
        drifted=tuple(drifted),
        notes=(*choice.notes, *_notes(compared, scaling, snapshot.instances, nodes)),
        blockers=choice.blockers,
    )


def cluster_notes(snapshot: Snapshot) -> tuple[str, ...]:
    """Nodes that belong to no machine of ours: half machines, strangers, and those of Karpenter, Auto Mode, Fargate."""
    left = lost(snapshot)
    return (
        *(f"node {node.name} {why}" for node in snapshot.nodes if (why := _not_ours(node))),
        *(f"{named(nodes)} {why} and {_are(nodes)} left alone" for nodes, why in _strangers(snapshot)),
        *((f"{named(left)}: {gone(left)}",) if left else ()),
    )


def strangers(snapshot: Snapshot) -> Mapping[str, Sequence[Node]]:
    """Nodes whose machines run and are of no group of the fleet, by their Auto Scaling group; "" if they have none."""
    members = {member.instance_id for group in snapshot.groups.values() for member in group.members}
    found: dict[str, list[Node]] = {}
    for node in snapshot.nodes:
        instance = snapshot.instances.get(node.instance_id)
        if instance is None or instance.id in members or instance.state in GONE_STATES or foreign_provisioner(node):
            continue
        asg = instance.tags.get(GROUP_TAG, "")
        # One that was let go, or is not in service yet, is in no list of members.
        if not {asg, instance.tags.get(DETACHED_FROM, "")} & snapshot.groups.keys():
            found.setdefault(asg, []).append(node)
    return found


def lost(snapshot: Snapshot) -> tuple[Node, ...]:
    """Nodes whose instance EC2 does not know."""
    return tuple(
        node
        for node in snapshot.nodes
        if node.instance_id and node.instance_id not in snapshot.instances and not foreign_provisioner(node)
    )


def named(nodes: Sequence[Node]) -> str:
    """Nodes as a line names them, however many there are."""
    if len(nodes) == 1:
        return f"node {nodes[0].name}"
    more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
    return f"{len(nodes)} nodes ({', '.join(node.name for node in nodes[:NAMED])}{more})"


def gone(nodes: Sequence[Node]) -> str:
    """What is said of nodes that are :func:`lost`: from here another account's machines look like none."""
    elsewhere = "gone, or in another account or region"
    return (
        f"its instance {nodes[0].instance_id} is {elsewhere}" if len(nodes) == 1 else f"their instances are {elsewhere}"
    )


def foreign_provisioner(node: Node) -> str:
    """Who else looks after a node, or "" if nobody does.

    Sources: karpenter.sh well-known labels; EKS user guide, "Auto Mode" and "Fargate" (``compute-type``).
    """
    compute = node.labels.get("eks.amazonaws.com/compute-type", "")
    if compute == "auto":
        return "EKS Auto Mode"
    if compute == "fargate":
        return "Fargate"
    if "karpenter.sh/nodepool" in node.labels:
        return f"Karpenter (node pool {node.labels['karpenter.sh/nodepool']})"
    return ""


def _strangers(snapshot: Snapshot) -> Iterator[tuple[Sequence[Node], str]]:
    for asg, nodes in strangers(snapshot).items():
        if asg:
            yield nodes, f"of Auto Scaling group {asg} {_are(nodes)} in no group of the fleet file"
        else:
            yield nodes, f"{_are(nodes)} in no Auto Scaling group"


def _are(nodes: Sequence[Node]) -> str:
    return "is" if len(nodes) == 1 else "are"


def _not_ours(node: Node) -> str:
    owner = foreign_provisioner(node)
    if owner:
        return f"belongs to {owner} and is left alone"
    if not node.provider_id and not node.instance_id:
        return f"has no providerID: no machine can be found for it, and it is left alone. {PROVIDER_ID}"
    if not node.instance_id:
        return f"has providerID {node.provider_id}, which names no EC2 instance, and is left alone"
    return ""


def _reasons(compared: _Compared, member: Member, instance: Instance, node: Node | None) -> tuple[DriftReason, ...]:
    if compared.choice.target is None or member.lifecycle.startswith(LEFT_ALONE):
        return ()
    if node is not None and foreign_provisioner(node):
        return ()
    return tuple(_found(compared, member, instance, node))


def _found(compared: _Compared, member: Member, instance: Instance, node: Node | None) -> Iterator[DriftReason]:
    if _other_image(compared, instance) and not _ahead(compared, instance):
        yield DriftReason.IMAGE
    if compared.policy.drift.template and member.template not in compared.choice.templates:
        yield _template_reason(member.template, compared.choice.templates)
    max_age_s = compared.policy.drift.max_age
    if max_age_s is not None and compared.now - instance.launched_at > max_age_s:
        yield DriftReason.AGE
    if MARK in instance.tags or (node is not None and MARK in node.annotations):
        yield DriftReason.MARKED


def _other_image(compared: _Compared, instance: Instance) -> bool:
    target = compared.choice.target
    return target is not None and instance.image_id != target.image.id


def _ahead(compared: _Compared, instance: Instance) -> bool:
    """A machine on a newer image is not taken backwards, unless the image is pinned."""
    target, image = compared.choice.target, compared.images.get(instance.image_id)
    if target is None or image is None or compared.choice.pinned:
        return False
    return image.id != target.image.id and image.created > target.image.created


def _template_reason(used: TemplateVersion | None, current: tuple[TemplateVersion, ...]) -> DriftReason:
    """A launch configuration has no version; its name changes instead."""
    versions = (used, *current) if used is not None else current
    is_configuration = any(not version.version for version in versions)
    return DriftReason.LAUNCH_CONFIGURATION if is_configuration else DriftReason.TEMPLATE_VERSION


def _machine(
    member: Member,
    instance: Instance,
    node: Node | None,
    now: float,
    pods: Mapping[str, int],
    reasons: tuple[DriftReason, ...],
) -> DriftedMachine:
    return DriftedMachine(
        instance_id=member.instance_id,
        node=node.name if node else None,
        zone=member.zone,
        image_id=instance.image_id,
        age_s=max(0.0, now - instance.launched_at),
        ready=node is not None and node.ready,
        pods=pods.get(node.name, 0) if node else 0,
        reasons=reasons,
    )


def _notes(
    compared: _Compared, scaling: ScalingGroup, instances: Mapping[str, Instance], nodes: Mapping[str, Node]
) -> Iterator[str]:
    for member in scaling.members:
        instance = instances.get(member.instance_id)
        if instance is None:
            yield f"machine {member.instance_id} is listed by {scaling.name} but EC2 does not know it"
        elif member.lifecycle.startswith(LEFT_ALONE):
            yield f"machine {member.instance_id} is {member.lifecycle} and is left alone"
        elif member.instance_id not in nodes:
            yield f"machine {member.instance_id} of {scaling.name} has no Node"
        elif compared.choice.target is not None and _ahead(compared, instance):
            target = compared.choice.target.image.id
            yield f"machine {member.instance_id} runs {instance.image_id}, newer than the target {target}"


def _pods_to_move(pods: tuple[Pod, ...]) -> Mapping[str, int]:
    """Pods per node that a drain would have to move."""
    counts: dict[str, int] = {}
    for pod in pods:
        stays = pod.mirror or pod.phase in ("Succeeded", "Failed")
        if not stays and not (pod.owner is not None and pod.owner.kind == "DaemonSet"):
            counts[pod.node] = counts.get(pod.node, 0) + 1
    return counts
