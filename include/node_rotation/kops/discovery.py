"""Find the node groups of a kops cluster by the tags that kops puts on its Auto Scaling groups. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from node_rotation.errors import BadInputError
from node_rotation.fleet import NodeGroup, Settings, not_managed
from node_rotation.kops.tags import CLUSTER_TAG, GROUP_TAG, KopsRole, role_of, settled
from node_rotation.model import Kind, Role
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.clients import Cloud


def discover(settings: Settings, cloud: Cloud, *, to_plan: bool = True) -> Settings:
    """The same cluster with its groups: as the fleet file lists them, or as kops' tags name them.

    Bastions have no Node and are left alone; API server groups have no etcd and are replaced like workers.

    :param to_plan: False for who puts back what a dead run left, or works on one machine: that is not to wait until
        the fleet file follows what somebody did to a worker group that may be another one.
    :raises BadInputError: if kops' cluster has no groups, one has not exactly one role, two are the same, a policy
        names none, or is for groups of EKS.
    """
    source = settings.cluster.kops
    if source is None:
        return settings
    names = cloud.find_groups({CLUSTER_TAG: source.cluster})
    tagged = [asg for asg in cloud.groups(names).values() if GROUP_TAG in asg.tags]
    roles = {asg.name: role_of(asg.name, asg.tags) for asg in tagged}
    groups = tuple(_node_group(asg, roles[asg.name]) for asg in tagged if roles[asg.name] is not KopsRole.BASTION)
    if not groups:
        raise BadInputError(
            f"{settings.name}: kops.cluster",
            f"no Auto Scaling group in {settings.cluster.aws.region} has the tag {CLUSTER_TAG}={source.cluster}.",
            "Give kops' name of the cluster (kops get clusters), or correct region and account.",
        )
    groups = _apart(settings, groups, to_plan=to_plan)
    if to_plan:
        _all_there(settings, groups)
    policies = {g.name: settled(g.kind, g.role, settings.groups.get(g.name, settings.policy)) for g in groups}
    cluster = settings.cluster.model_copy(update={"groups": groups, "kops": None})
    notes = (*settings.notes, *_left_alone(tagged, roles))
    found = settings.model_copy(update={"cluster": cluster, "groups": policies, "notes": notes})
    not_managed(found, {})
    return found


def _node_group(asg: ScalingGroup, role: KopsRole) -> NodeGroup:
    ours = Role.CONTROL_PLANE if role is KopsRole.CONTROL_PLANE else Role.WORKER
    return NodeGroup(name=asg.tags[GROUP_TAG], kind=Kind.KOPS, role=ours, asg=asg.name)


def _apart(settings: Settings, groups: Sequence[NodeGroup], *, to_plan: bool) -> tuple[NodeGroup, ...]:
    """The groups whose names are theirs alone; which of two workers' is meant only a plan has to know."""
    known = [group.name for group in groups]
    twins = [group for group in groups if known.count(group.name) > 1]
    if refused := sorted({group.name for group in twins if to_plan or group.role is Role.CONTROL_PLANE}):
        same = [str(group.asg) for group in twins if group.name == refused[0]]
        raise BadInputError(
            f"{settings.name}: instance group {refused[0]}",
            f"is {' and '.join(same)}.",
            "Remove the group that is left.",
        )
    return tuple(group for group in groups if group not in twins)


def _all_there(settings: Settings, groups: Sequence[NodeGroup]) -> None:
    known = [group.name for group in groups]
    if unknown := sorted(set(settings.groups) - set(known)):
        where = f"{settings.name}: kops.policies"
        remedy = f"Correct its name or remove its policy. Known: {', '.join(known)}."
        raise BadInputError(where, f"there is no instance group {unknown[0]!r}.", remedy)


def _left_alone(tagged: list[ScalingGroup], roles: dict[str, KopsRole]) -> Iterator[str]:
    for asg in tagged:
        if roles[asg.name] is KopsRole.BASTION:
            yield f"group {asg.tags[GROUP_TAG]} ({asg.name}) holds bastions, which are no Nodes, and is left alone"
