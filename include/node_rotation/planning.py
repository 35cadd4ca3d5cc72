"""From drift to a plan: which machines, in which order, how many at once, and what stands in the way."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from node_rotation import estimate as estimating
from node_rotation.blockers import Subject, blockers, in_the_way, left_out, notes, passing, reasons
from node_rotation.budget import slots
from node_rotation.clearance import environments
from node_rotation.clearance.fitting import several_nights, too_long
from node_rotation.control_plane import quorum
from node_rotation.drift import cluster_notes
from node_rotation.fleet import NodeGroup, Settings
from node_rotation.ledger_size import too_large
from node_rotation.managed.planning import managed_plan
from node_rotation.model import (
    MAX_BATCHES,
    Batch,
    Blocker,
    DriftedMachine,
    DriftReason,
    Estimate,
    GroupDrift,
    GroupPlan,
    Kind,
    Plan,
    PlannedMachine,
    Role,
    Strategy,
)
from node_rotation.policy import Policy
from node_rotation.prices import priced
from node_rotation.workloads.attachments import last_in_zone
from node_rotation.workloads.conflicts import Sharing
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.snapshot import Snapshot


def empty_plan(what: str, settings: Settings, now: float) -> Plan:
    """The plan of a run for work outside any plan: a sweep, a single machine.

    :param what: its id, for the lock's ledger.
    :param now: epoch seconds.
    """
    return Plan(
        id=what,
        environment=settings.environment,
        cluster=settings.cluster.name,
        created=datetime.fromtimestamp(now, UTC),
        groups=(),
        batches=(),
        slots=0,
        estimate=Estimate(duration_s=0.0, extra_instance_hours=0.0),
    )


def make_plan(
    settings: Settings,
    drifts: Sequence[GroupDrift],
    snapshot: Snapshot,
    now: float,
    planned: Collection[str] = (),
) -> Plan:
    """Make the plan for one cluster; a pure function of its arguments.

    Control plane first, then workers by priority and in fleet order. Within a group unhealthy machines, then empty
    ones, then those that a tight budget makes go in turn, then the oldest; zones in turn. The first batch is a canary
    of one machine, unless the policy of its group says no. A managed group is one batch; such groups come after the
    others, the smallest first. A group whose image is held back is left out, as long as another is rotated.

    :param settings: the cluster with its merged policies; groups that a run left out have no drift here.
    :param drifts: what the drift check found, one per group.
    :param snapshot: the same observation.
    :param now: epoch seconds.
    :param planned: names of groups that are not left out: what holds their image back blocks.
    """
    subjects = _subjects(settings, drifts, snapshot)
    groups = tuple(subject.plan for subject in subjects)
    found, rotated = reasons(drifts), frozenset((*planned, *(group.name for group in groups)))
    total_slots = cluster_slots(settings, groups)
    sharing = Sharing(snapshot)
    batches = _batches(subjects, total_slots, sharing, snapshot)
    played = estimating.play(groups, batches, settings.groups, cluster_slots=total_slots, sharing=sharing)
    estimate = played.estimate
    plan = Plan(
        id="",
        environment=settings.environment,
        cluster=settings.cluster.name,
        created=datetime.fromtimestamp(now, UTC),
        groups=groups,
        batches=batches,
        overrides={key: value for key, value in settings.run.items() if key != "mode"},  # that is whether, not how
        slots=total_slots,
        cluster_machines=snapshot.machines,
        estimate=priced(estimate, settings.prices, _hours(batches, played.extra_h, snapshot)),
        blockers=(
            *in_the_way(found, rotated),
            *blockers(subjects, snapshot),
            *quorum.blockers(settings, groups, snapshot),
            *too_long(batches, groups, settings.groups),
            *too_large(groups, batches, total_slots, snapshot),
        ),
        notes=(
            *left_out(found, rotated),
            *(n for drift in drifts for n in drift.notes),
            *settings.notes,
            *notes(subjects, snapshot),
            *_begins(settings, [s.plan for s in subjects if _moved(s)]),
            *several_nights(estimate, settings.policy),
            *_apart(batches, sharing),
            *_zonal(subjects, snapshot),
            *cluster_notes(snapshot),
        ),
    )
    return plan.model_copy(update={"id": content_id(plan)})


@dataclass(frozen=True, slots=True)
class Since:
    """What has come in the way of a plan since it was made.

    :param lasting: only a person or the policy can take it away.
    :param passing: it may pass by itself: a run that has begun waits for it.
    """

    lasting: tuple[Blocker, ...]
    passing: tuple[Blocker, ...]


def blocked_since(plan: Plan, settings: Settings, snapshot: Snapshot) -> Since:
    """What blocks by now a plan that was made earlier: its groups, machines and pods, etcd. Its targets stay.

    :param plan: as it was made; groups of which no planned machine is left have nothing to do.
    :param settings: as it was made with.
    :param snapshot: an observation of now.
    """
    there = [g for g in plan.groups if g.asg in snapshot.groups and (g.managed is None or g.asg in snapshot.managed)]
    found = [Subject(g, settings.groups[g.name], snapshot.groups[g.asg], _left(plan, g, snapshot)) for g in there]
    subjects = [subject for subject in found if subject.drifted]
    groups = [subject.plan for subject in subjects]
    every = (*blockers(subjects, snapshot), *quorum.blockers(settings, groups, snapshot))
    passes = (*passing(found, snapshot), *quorum.passing(settings, groups, snapshot))
    return Since(tuple(blocker for blocker in every if blocker not in passes), passes)


def _left(plan: Plan, group: GroupPlan, snapshot: Snapshot) -> tuple[DriftedMachine, ...]:
    """A group's planned machines that are still its members; their age and pods no blocker asks for."""
    planned = (m for batch in plan.batches if batch.group == group.name for m in batch.machines)
    left = [(m, snapshot.node_of(m.instance_id)) for m in planned if snapshot.groups[group.asg].member(m.instance_id)]
    return tuple(
        DriftedMachine(
            instance_id=machine.instance_id,
            node=node.name if node else None,
            zone=machine.zone,
            image_id=machine.image_id,
            age_s=0.0,
            ready=node is not None and node.ready,
            pods=0,
            reasons=machine.reasons,
        )
        for machine, node in left
    )


def _moved(subject: Subject) -> bool:
    return any(DriftReason.IMAGE in machine.reasons for machine in subject.drifted)


def _begins(settings: Settings, groups: Sequence[GroupPlan]) -> Iterator[str]:
    """What the run will wait for before it touches anything.

    :param groups: those that get another image.
    """
    yield from environments.notes(settings, groups)
    if settings.turn is not None:
        yield from (f"only once {before.settings.name} is done" for before in settings.turn.ahead)
    policy = settings.policy
    if policy.pin:
        yield "it is pinned to its image: nothing newer takes its place while it waits"
    if policy.skip_promotion:
        yield f"neither the environments before nor the clusters ahead count for this run: {policy.skip_promotion}"
    if policy.outside_windows:
        yield f"maintenance windows and blackouts don't count for this run: {policy.outside_windows}"
    else:
        yield from (f"only in the maintenance window {window}" for window in policy.windows)
        yield from (f"not during the blackout from {blackout}" for blackout in policy.blackouts)


def content_id(plan: Plan) -> str:
    """The plan's id: a hash of all that will be done; when it was made, its notes and its cost don't count.

    :param plan: its own ``id`` is not read.
    """
    content = plan.model_dump_json(exclude={"id": True, "created": True, "notes": True, "estimate": {"cost"}})
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _hours(batches: Iterable[Batch], extra_h: Mapping[str, float], snapshot: Snapshot) -> Mapping[str, float]:
    """Instance type → extra hours of a plan, those of a batch shared by its machines; "" is one EC2 does not know."""
    found: dict[str, float] = {}
    for batch in batches:
        for machine in batch.machines:
            instance = snapshot.instances.get(machine.instance_id)
            name = instance.instance_type if instance else ""
            found[name] = found.get(name, 0.0) + extra_h[batch.name] / len(batch.machines)
    return found


def _subjects(settings: Settings, drifts: Sequence[GroupDrift], snapshot: Snapshot) -> tuple[Subject, ...]:
    """The groups to be rotated, in order."""
    found = {drift.group: drift for drift in drifts if drift.target is not None and drift.drifted}
    chosen = [group for group in settings.cluster.groups if group.name in found]
    chosen.sort(key=lambda g: _rank_group(g, settings.groups[g.name].priority, found[g.name]))
    return tuple(_subject(g, settings.groups[g.name], found[g.name], snapshot) for g in chosen)


def _rank_group(group: NodeGroup, priority: int, drift: GroupDrift) -> tuple[bool, int, bool, int]:
    """Among masters a broken one goes first: with one down, a healthy one must not be touched."""
    masters = group.role is Role.CONTROL_PLANE
    size = drift.machines if group.kind is Kind.EKS_MANAGED else 0
    return (not masters, -priority, masters and all(machine.ready for machine in drift.drifted), size)


def _subject(group: NodeGroup, policy: Policy, drift: GroupDrift, snapshot: Snapshot) -> Subject:
    assert drift.target is not None  # noqa: S101 - _subjects leaves groups without a target out
    scaling, eks = snapshot.groups[drift.asg], snapshot.managed.get(drift.asg)
    managed = managed_plan(eks, scaling, policy) if eks is not None else None
    plan = GroupPlan(
        name=group.name,
        asg=drift.asg,
        role=group.role,
        kind=group.kind,
        strategy=policy.strategy,
        image_step=policy.image_step,
        needs_image_step=drift.target.template is None and managed is None,
        target=drift.target,
        slots=managed.at_once if managed is not None else group_slots(group.role, policy, scaling),
        size=scaling.desired,
        managed=managed,
    )
    return Subject(plan, policy, scaling, drift.drifted)


def group_slots(role: Role, policy: Policy, scaling: ScalingGroup) -> int:
    """The budget's slots; one for a control plane; no more than fit below a max size that may not be raised.

    :param scaling: the group as it stood when the plan was made.
    """
    wanted = slots(policy.budget, policy.strategy, scaling.desired)
    if role is Role.CONTROL_PLANE:
        wanted = min(wanted, 1)
    if policy.strategy is Strategy.SURGE and not policy.raise_max_size:
        wanted = min(wanted, max(scaling.max - scaling.desired, 0))
    return wanted


def cluster_slots(settings: Settings, groups: Iterable[GroupPlan]) -> int:
    """All slots of a cluster's groups, no more than the policy lets the cluster have."""
    total = sum(group.slots for group in groups)
    cap = settings.policy.budget.cluster_slots
    return total if cap is None else min(cap, total)


def _apart(batches: Sequence[Batch], sharing: Sharing) -> Iterator[str]:
    """The budgets that keep machines of the plan from going together."""
    machines = [machine.instance_id for batch in batches for machine in batch.machines]
    for budget, nodes, allowed in sharing.contended(machines):
        yield f"pdb {budget} allows {allowed} at once: of the {nodes} nodes under it those that need more go in turn"


def _zonal(subjects: Sequence[Subject], snapshot: Snapshot) -> Iterator[str]:
    """Machines that surge may not find a replacement for in their zone: AWS chooses it before it knows who leaves."""
    for subject in subjects:
        if subject.plan.strategy is not Strategy.SURGE or len(subject.scaling.zones) < 2:
            continue
        nodes = {machine.node for machine in subject.drifted if machine.node}
        for found in last_in_zone(snapshot, nodes):
            yield f"{found}: surge may launch elsewhere, strategy: detach launches there"


def _batches(
    subjects: Sequence[Subject], cluster_slots: int, sharing: Sharing, snapshot: Snapshot
) -> tuple[Batch, ...]:
    turns = sharing.turns([machine.instance_id for s in subjects for machine in s.drifted])
    queues = {s.plan.name: list(_in_order(s.drifted, turns)) for s in subjects}
    canary = bool(subjects) and subjects[0].policy.canary
    caps = {s.plan.name: max(1, min(s.plan.slots, cluster_slots)) for s in subjects}
    ours = [s for s in subjects if s.plan.managed is None]
    lengths = {s.plan.name: len(queues[s.plan.name]) for s in ours}
    size = _batch_size(lengths, caps, canary and ours[:1] == [*subjects[:1]], ours)
    found: list[Batch] = []
    for subject in subjects:
        name = subject.plan.name
        with_canary = canary and not found
        if subject.plan.managed is not None:  # EKS rolls all of them
            parts = iter((tuple(_planned(machine) for machine in queues[name]),) if queues[name] else ())
        else:
            parts = _cut(queues[name], min(size, caps[name]), sharing, first_alone=with_canary)
        found += [
            Batch(
                name=f"{name}/{number}",
                group=name,
                machines=part,
                canary=with_canary and number == 1,
                longer_s=_longer_s(subject, part, snapshot),
            )
            for number, part in enumerate(parts, 1)
        ]
    return tuple(found)


def _longer_s(subject: Subject, machines: Sequence[PlannedMachine], snapshot: Snapshot) -> float:
    """What a batch takes on top of the usual; EKS rolls its own in its own way."""
    if subject.plan.managed is not None:
        return 0.0
    ids = {machine.instance_id for machine in machines}
    pods = sum(machine.pods for machine in subject.drifted if machine.instance_id in ids)
    return estimating.longer_s(subject.policy, subject.scaling, snapshot.targets, pods)


def _batch_size(lengths: Mapping[str, int], caps: Mapping[str, int], canary: bool, subjects: Sequence[Subject]) -> int:
    """The smallest size that keeps the plan within :data:`MAX_BATCHES`, as far as the slots allow it."""
    rest = dict(lengths)
    if canary:
        rest[subjects[0].plan.name] -= 1
    allowed = MAX_BATCHES - canary
    largest = max(caps.values(), default=1)
    size = max(1, -(-sum(rest.values()) // allowed))
    while size < largest and sum(-(-length // min(size, caps[name])) for name, length in rest.items()) > allowed:
        size += 1
    return min(size, largest)


def _cut(
    queue: Sequence[DriftedMachine], size: int, sharing: Sharing, *, first_alone: bool
) -> Iterator[tuple[PlannedMachine, ...]]:
    planned = {machine.instance_id: _planned(machine) for machine in queue}
    ids = list(planned)
    if first_alone:
        yield (planned[ids[0]],)
        ids = ids[1:]
    for part in sharing.split(ids, size):
        yield tuple(planned[machine] for machine in part)


def _planned(machine: DriftedMachine) -> PlannedMachine:
    return PlannedMachine(
        instance_id=machine.instance_id,
        node=machine.node,
        zone=machine.zone,
        image_id=machine.image_id,
        reasons=machine.reasons,
    )


def _in_order(machines: Iterable[DriftedMachine], turns: Mapping[str, int]) -> Iterator[DriftedMachine]:
    """Unhealthy, empty, longest chain of turns, oldest; each class spread over its zones.

    Machines that have to go in turn begin early, beside others, or the last of them go alone when all else is done.
    """

    def urgency(machine: DriftedMachine) -> tuple[bool, bool, int]:
        return (machine.ready, machine.pods > 0, -turns.get(machine.instance_id, 0))

    oldest_first = sorted(machines, key=lambda machine: (urgency(machine), -machine.age_s, machine.instance_id))
    for _, same in groupby(oldest_first, key=urgency):
        yield from _spread(same)


def _spread(machines: Iterable[DriftedMachine]) -> Iterator[DriftedMachine]:
    """Zones in turn, the one with the oldest machine first, so that a batch and its neighbours don't share one."""
    zones: dict[str, list[DriftedMachine]] = {}
    for machine in machines:
        zones.setdefault(machine.zone, []).append(machine)
    depth = max(map(len, zones.values()), default=0)
    for row in range(depth):
        yield from (zone[row] for zone in zones.values() if row < len(zone))
