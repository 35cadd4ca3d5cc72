"""May a master go, and is the control plane whole again after one: pure decisions over one observation.

etcd needs a majority of its members: with three, one may be away (etcd, "Failure modes"). A master takes one member
of each etcd cluster with it, so all the others have to be well before it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from node_rotation import names
from node_rotation.control_plane import endpoints
from node_rotation.control_plane.endpoints import by_node
from node_rotation.control_plane.values import ADDRESS, EtcdCluster, EtcdMember
from node_rotation.fleet import Settings
from node_rotation.kops.tags import ETCD_CLUSTERS
from node_rotation.model import Blocker, GroupPlan, Kind, Role, Strategy
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.kubernetes import Node
from node_rotation.world.snapshot import Snapshot

SMALLEST = 3
"""With fewer members none may be away."""


def guards(settings: Settings, group: str, strategy: Strategy) -> bool:
    """Whether the machines of a group may only go while the quorum lasts."""
    return strategy is Strategy.TERMINATE_FIRST and any(
        g.name == group and g.role is Role.CONTROL_PLANE for g in settings.cluster.groups
    )


def is_master(settings: Settings, snapshot: Snapshot, machine: str) -> bool:
    """Whether a machine is one of the control plane: its Node says so, or its group has that role.

    :param machine: its instance id.
    """
    node = snapshot.node_of(machine)
    return (node is not None and endpoints.is_master(node)) or _of_ours(_masters(settings, snapshot), snapshot, machine)


def before(settings: Settings, snapshot: Snapshot, leaving: Collection[str]) -> tuple[str, ...]:
    """Why these masters may not go now; nothing if they may.

    :param leaving: instance ids.
    """
    policy, found = settings.policy.control_plane, _masters(settings, snapshot)
    size, nodes = sum(group.desired for group in found), _nodes(snapshot, leaving)
    strangers = [machine for machine in leaving if not _of_ours(found, snapshot, machine)]
    if strangers:
        size = max(size, sum(map(endpoints.is_master, snapshot.nodes)))
    reasons = (
        *_api(snapshot),
        *_others(found, snapshot, leaving),
        *(_beside(settings, snapshot, leaving) if strangers else ()),
        *(reason for c in _etcd(snapshot) for reason in _unwell(settings, c, size, nodes)),
        *(() if policy.allow_outage else _too_few(snapshot, size)),
        *_unprobed(settings),
    )
    return tuple(dict.fromkeys(reasons))


def after(settings: Settings, snapshot: Snapshot) -> tuple[str, ...]:
    """What the control plane still lacks to be whole; nothing if it is."""
    found = _masters(settings, snapshot)
    size = sum(group.desired for group in found)
    return (
        *_api(snapshot),
        *_others(found, snapshot, ()),
        *(reason for c in _etcd(snapshot) for reason in _unwell(settings, c, size, ())),
    )


def blockers(settings: Settings, groups: Iterable[GroupPlan], snapshot: Snapshot) -> Iterator[Blocker]:
    """What keeps a plan's masters from being replaced as the policy stands."""
    masters = [group for group in groups if guards(settings, group.name, group.strategy)]
    if not masters:
        return
    guarded = [f"group {group.name}" for group in masters]
    for reason in _unprobed(settings):
        yield Blocker(
            reason=reason,
            objects=tuple(guarded),
            remedy="name its members in control_plane.etcd of the cluster in the fleet file, or have that accept "
            "less: control_plane.without_probe: true",
        )
    yield from passing(settings, masters, snapshot)
    size = sum(group.desired for group in _masters(settings, snapshot))
    if not settings.policy.control_plane.allow_outage:
        for reason in _too_few(snapshot, size):
            remedy = "have the fleet file approve the outage: control_plane.allow_outage: true"
            yield Blocker(reason=reason, objects=tuple(guarded), remedy=remedy)


def passing(settings: Settings, groups: Iterable[GroupPlan], snapshot: Snapshot) -> Iterator[Blocker]:
    """Of these what may pass by itself: a member of etcd is away, or gave no answer in time."""
    masters = [group for group in groups if guards(settings, group.name, group.strategy)]
    for reason in _at_first(settings, [group.asg for group in masters], snapshot) if masters else ():
        yield Blocker(
            reason=reason,
            objects=tuple(f"group {group.name}" for group in masters),
            remedy="have it healthy, or name every member in control_plane.etcd of the cluster in the fleet file, e.g. "
            f"all of them by http://{ADDRESS}:8081; doctor asks again",
        )


def _at_first(settings: Settings, asgs: Collection[str], snapshot: Snapshot) -> Iterator[str]:
    """What would keep the first master from going, a broken one before the others: its member may be away.

    :param asgs: the Auto Scaling groups whose masters are to go.
    """
    members = [m.instance_id for asg in snapshot.groups.values() if asg.name in asgs for m in asg.members]
    broken = [machine for machine in members if not _ready(snapshot, machine)][:1]
    size = sum(group.desired for group in _masters(settings, snapshot))
    for cluster in _etcd(snapshot):
        yield from _unwell(settings, cluster, size, _nodes(snapshot, broken))


def _masters(settings: Settings, snapshot: Snapshot) -> tuple[ScalingGroup, ...]:
    """The Auto Scaling groups of the control plane."""
    groups = [group for group in settings.watched if group.role is Role.CONTROL_PLANE]
    return tuple(asg for asg in snapshot.groups.values() if any(g.names_asg(asg.name, asg.tags) for g in groups))


def _of_ours(masters: Iterable[ScalingGroup], snapshot: Snapshot, machine: str) -> bool:
    """Whether a machine is in one of these groups, or was detached from one to be terminated."""
    origin = _origin(snapshot, machine)
    return any(group.member(machine) is not None or group.name == origin for group in masters)


def _beside(settings: Settings, snapshot: Snapshot, leaving: Collection[str]) -> Iterator[str]:
    """What keeps a master that no control-plane group of the fleet has: nobody but etcd knows how many there are."""
    if not settings.policy.control_plane.etcd:
        yield "no control-plane group of the fleet file has it, and no probe of etcd is configured"
    for node in snapshot.nodes:
        if endpoints.is_master(node) and not node.ready and node.instance_id not in leaving:
            yield f"master {_name(snapshot, node.instance_id) if node.instance_id else node.name} is not Ready"


def _api(snapshot: Snapshot) -> Iterator[str]:
    state = snapshot.control_plane
    if state is None:
        yield "the control plane was not looked at"
    elif not state.ready:
        yield f"the API server is not ready: {state.said}"


def _others(masters: Iterable[ScalingGroup], snapshot: Snapshot, leaving: Collection[str]) -> Iterator[str]:
    """What the groups lack apart from those that leave, and from what comes for those that were detached."""
    for asg in masters:
        staying = [m.instance_id for m in asg.members if m.lifecycle == "InService" or m.instance_id in leaving]
        there = len(staying) + sum(_origin(snapshot, m) == asg.name and asg.member(m) is None for m in leaving)
        if there < asg.desired:
            yield f"asg {asg.name} has {there} of {asg.desired} masters in service"
        replacing = _newest(snapshot, staying, min(there - asg.desired, there - len(staying)))
        for machine in staying:
            if machine not in (*leaving, *replacing) and not _ready(snapshot, machine):
                yield f"master {_name(snapshot, machine)} is not Ready"


def _newest(snapshot: Snapshot, machines: Iterable[str], count: int) -> list[str]:
    """Those that came for masters that were detached and are to go: a volume of etcd, say, is not theirs before."""
    known = [i for m in machines if (i := snapshot.instances.get(m)) is not None]
    return [i.id for i in sorted(known, key=lambda i: i.launched_at, reverse=True)[: max(count, 0)]]


def _origin(snapshot: Snapshot, machine: str) -> str:
    """The group that a machine was detached from to be terminated; "" if it was not."""
    instance = snapshot.instances.get(machine)
    return instance.tags.get(names.DETACHED_FROM, "") if instance else ""


def _ready(snapshot: Snapshot, machine: str) -> bool:
    node = snapshot.node_of(machine)
    return node is not None and node.ready


def _name(snapshot: Snapshot, machine: str) -> str:
    node = snapshot.node_of(machine)
    return f"{node.name} ({machine})" if node else machine


def _etcd(snapshot: Snapshot) -> tuple[EtcdCluster, ...]:
    return snapshot.control_plane.etcd if snapshot.control_plane else ()


def _nodes(snapshot: Snapshot, machines: Iterable[str]) -> tuple[Node | None, ...]:
    return tuple(snapshot.node_of(machine) for machine in machines)


def _unwell(settings: Settings, cluster: EtcdCluster, masters: int, leaving: Collection[Node | None]) -> Iterator[str]:
    """Members that are away, apart from those that leave anyway.

    Of a leaving master that is broken and whose member nobody knows, it may be the one that is away: no known Node's.
    It is not one that a fixed list of endpoints lacks: that is asked of nobody, whatever becomes of a master.

    :param masters: how many there should be.
    :param leaving: the leaving masters' Nodes; None for a master without one.
    """
    known = {member.node for member in cluster.members}
    names = {node.name for node in leaving if node is not None}
    unknown = sum(node is None or (not node.ready and node.name not in known) for node in leaving)
    away = [m for m in cluster.members if not m.healthy and m.node not in names]
    size = _size(settings, cluster, masters)
    missing = max(size - len({member.node or member.endpoint for member in cluster.members}), 0)
    excused = sum(not member.node for member in away) + missing <= unknown
    others = any(member.node for member in away)
    if others or not excused or (missing and not _by_node(settings, cluster)):
        yield from (f"etcd {cluster.name}: {_who(m)} is not healthy ({m.said})" for m in away)
        if missing:
            yield f"etcd {cluster.name}: {missing} of {size} members are not to be found"


def _who(member: EtcdMember) -> str:
    return (
        member.endpoint if not member.node or member.node in member.endpoint else f"{member.endpoint} of {member.node}"
    )


def _size(settings: Settings, cluster: EtcdCluster, masters: int) -> int:
    """How many members there should be: a metrics listener lists none, but where etcd is on the masters each has one.

    Elsewhere (kubeadm's external etcd, say) the number of masters says nothing.
    """
    return max(len(cluster.voters), masters if _on_masters(settings, cluster) else 0)


def _on_masters(settings: Settings, cluster: EtcdCluster) -> bool:
    return _kops(settings) or _by_node(settings, cluster) or any(member.node for member in cluster.members)


def _by_node(settings: Settings, cluster: EtcdCluster) -> bool:
    return by_node(settings.policy.control_plane.etcd[cluster.name])


def _kops(settings: Settings) -> bool:
    return any(g.kind is Kind.KOPS for g in settings.cluster.groups)


def _too_few(snapshot: Snapshot, masters: int) -> Iterator[str]:
    sizes = [masters, *(len(c.voters) for c in _etcd(snapshot) if c.voters)]
    if min(sizes) < SMALLEST:
        yield f"a control plane of {min(sizes)} loses its quorum, and the API with it, while a master is replaced"


def _unprobed(settings: Settings) -> Iterator[str]:
    policy = settings.policy.control_plane
    if policy.without_probe:
        return
    wanted = ETCD_CLUSTERS if _kops(settings) else ()
    if missing := [name for name in wanted if name not in policy.etcd]:
        yield f"nobody can tell whether etcd {' and '.join(missing)} would keep the quorum: no probe is configured"
    elif not policy.etcd:
        yield "nobody can tell whether etcd would keep its quorum: no probe is configured"
