"""What stands in the way of a plan, and what somebody should know before it starts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from node_rotation import eviction
from node_rotation.budget import shortage
from node_rotation.managed import planning as managed_planning
from node_rotation.managed.planning import managed_blockers, managed_notes
from node_rotation.model import (
    Blocker,
    DriftedMachine,
    GroupDrift,
    GroupPlan,
    ImageStep,
    Role,
    Strategy,
    Target,
)
from node_rotation.outcome import Blocked
from node_rotation.policy import Policy
from node_rotation.scaling.obstacles import notes as group_notes
from node_rotation.scaling.obstacles import obstacles
from node_rotation.target import label
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.kubernetes import Budget, Pod
from node_rotation.world.snapshot import Snapshot

NEEDED_PROCESSES = ("Launch", "Terminate")
"""Auto Scaling user guide, "Suspend and resume processes": without them no machine comes or goes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A group to be rotated, with everything that may block it.

    :param plan: what the plan says of it.
    :param drifted: the machines to replace.
    """

    plan: GroupPlan
    policy: Policy
    scaling: ScalingGroup
    drifted: tuple[DriftedMachine, ...]

    @property
    def ids(self) -> frozenset[str]:
        """Instance ids of the machines to replace."""
        return frozenset(machine.instance_id for machine in self.drifted)

    @property
    def object(self) -> str:
        """How messages name it."""
        return f"group {self.plan.name}"


def blockers(subjects: Sequence[Subject], snapshot: Snapshot) -> tuple[Blocker, ...]:
    """Why the plan can't be carried out as it stands, drift's own reasons apart: groups, machines, pods.

    :param subjects: the plan's groups.
    """
    found: list[Blocker] = []
    for subject in subjects:
        found.extend(_group(subject, snapshot))
        found.extend(_machines(subject, snapshot))
    found.extend(_pods(subjects, snapshot))
    found.extend(_nodes(subjects, snapshot))
    for subject in (s for s in subjects if s.plan.managed is not None):
        group = snapshot.managed[subject.plan.asg]
        found.extend(managed_blockers(subject.plan, group, subject.policy.budget.cluster_slots))
    return tuple(found)


def passing(subjects: Sequence[Subject], snapshot: Snapshot) -> Iterator[Blocker]:
    """Of these what may pass by itself, and what a run that has begun waits for: a refresh, an update, a check.

    :param subjects: also those without a machine to replace: who replaced the last one may still be busy.
    """
    for subject in subjects:
        yield from _refresh(subject)
        yield from _checks(subject, snapshot) if subject.drifted else ()
        if subject.plan.managed is not None:
            yield from managed_planning.passing(subject.plan, snapshot.managed[subject.plan.asg])


def reasons(drifts: Iterable[GroupDrift]) -> Mapping[str, Sequence[Blocker]]:
    """Node group → drift's own reasons why its image can't be rolled out."""
    return {drift.group: drift.blockers for drift in drifts}


def in_the_way(found: Mapping[str, Iterable[Blocker]], rotated: Collection[str]) -> tuple[Blocker, ...]:
    """Of drift's own reasons those that block a plan, one per cause: all but those of groups that it leaves out.

    :param found: as :func:`reasons` has it.
    :param rotated: names of the groups that have something to do; where none has, nothing is left out.
    """
    pairs = ((group, blocker) for group, blockers in found.items() for blocker in blockers)
    return tuple(merged(blocker for group, blocker in pairs if not _leaves_out(group, blocker, rotated)))


def left_out(found: Mapping[str, Iterable[Blocker]], rotated: Collection[str]) -> tuple[str, ...]:
    """The others, as notes: an image that soaks or is frozen keeps no other group from its rotation.

    :param found: as :func:`in_the_way` takes it, and ``rotated``.
    """
    return tuple(
        f"group {group} is left out: {blocker.reason}"
        for group, blockers in found.items()
        for blocker in blockers
        if _leaves_out(group, blocker, rotated)
    )


def _leaves_out(group: str, blocker: Blocker, rotated: Collection[str]) -> bool:
    return blocker.held_back and bool(rotated) and group not in rotated


def merged(found: Iterable[Blocker]) -> Iterator[Blocker]:
    """One blocker per cause: an image that is missing is missing for every group."""
    causes: dict[tuple[str, str, bool], list[str]] = {}
    for blocker in found:
        causes.setdefault((blocker.reason, blocker.remedy, blocker.held_back), []).extend(blocker.objects)
    for (reason, remedy, held_back), objects in causes.items():
        yield Blocker(reason=reason, objects=tuple(dict.fromkeys(objects)), remedy=remedy, held_back=held_back)


def notes(subjects: Sequence[Subject], snapshot: Snapshot) -> tuple[str, ...]:
    """What does not block but changes what will happen."""
    managed = (s for s in subjects if s.plan.managed is not None)
    ours = tuple(note for subject in subjects for note in _notes(subject))
    return (*ours, *(note for s in managed for note in managed_notes(s.plan, snapshot.managed[s.plan.asg])))


def _group(subject: Subject, snapshot: Snapshot) -> Iterator[Blocker]:
    yield from _capacity(subject)
    yield from _image_step(subject)
    yield from _actors(subject)
    yield from _checks(subject, snapshot)
    yield from obstacles(subject.plan, subject.policy, subject.scaling, subject.ids, snapshot)


def _capacity(subject: Subject) -> Iterator[Blocker]:
    plan, scaling = subject.plan, subject.scaling
    room = scaling.max - scaling.desired
    if plan.strategy is Strategy.SURGE and not subject.policy.raise_max_size and room < 1:
        yield Blocker(
            reason=f"surge is impossible: {scaling.name} has max size {scaling.max}, desired {scaling.desired}",
            objects=(subject.object, f"asg {scaling.name}"),
            remedy="raise the group's max size, or set raise_max_size: true or strategy: detach in the fleet file",
        )
    elif plan.slots < 1:
        yield Blocker(
            reason=f"the budget of group {plan.name} leaves 0 slots",
            objects=(subject.object,),
            remedy=f"set budget.{_side(plan.strategy)} to at least 1 in the fleet file",
        )


def _side(strategy: Strategy) -> str:
    return "max_unavailable" if strategy is Strategy.TERMINATE_FIRST else "max_surge"


def _image_step(subject: Subject) -> Iterator[Blocker]:
    plan = subject.plan
    if not plan.needs_image_step:
        return
    image = plan.target.image.id
    if plan.image_step is ImageStep.EXTERNAL:
        yield Blocker(
            reason=f"the template of {plan.asg} does not launch the target {image}, and the image step is external",
            objects=(subject.object, f"asg {plan.asg}", f"image {image}"),
            remedy="put the image into the template first, or set image_step: launch_template in the fleet file",
        )
    elif plan.image_step is ImageStep.LAUNCH_TEMPLATE and subject.scaling.template.launch_configuration:
        yield Blocker(
            reason=f"{plan.asg} uses launch configuration {subject.scaling.template.name}, which can't be changed",
            objects=(subject.object, f"asg {plan.asg}"),
            remedy="move the group to a launch template, or set image_step: external in the fleet file and replace the "
            "configuration yourself",
        )


def _refresh(subject: Subject) -> Iterator[Blocker]:
    scaling = subject.scaling
    if scaling.refresh_in_progress:
        yield Blocker(
            reason=f"instance refresh {scaling.refresh_in_progress} is replacing the machines of {scaling.name}",
            objects=(subject.object, f"asg {scaling.name}"),
            remedy="wait for it, or cancel it with CancelInstanceRefresh",
        )


def _actors(subject: Subject) -> Iterator[Blocker]:
    scaling = subject.scaling
    yield from _refresh(subject)
    stopped = [process for process in NEEDED_PROCESSES if process in scaling.suspended]
    if stopped:
        yield Blocker(
            reason=f"{' and '.join(stopped)} of {scaling.name} is suspended: no replacement can come or go",
            objects=(subject.object, f"asg {scaling.name}"),
            remedy="find out why, then resume with ResumeProcesses",
        )


def _checks(subject: Subject, snapshot: Snapshot) -> Iterator[Blocker]:
    """A check that is not green before anything is touched would fail the first gate for no fault of the rotation."""
    for check in subject.policy.gate.checks:
        if why := snapshot.checks.get(check.label):
            yield Blocker(
                reason=f"a gate check is not green before the rotation: {why}",
                objects=(subject.object, check.label),
                remedy="correct what it checks, or take it out of gate.checks in the fleet file",
            )


def _machines(subject: Subject, snapshot: Snapshot) -> Iterator[Blocker]:
    ids = subject.ids
    instances = (snapshot.instances.get(i) for i in sorted(ids))
    locked = [instance.id for instance in instances if instance is not None and instance.termination_protected]
    if locked:
        yield Blocker(
            reason=f"machines of group {subject.plan.name} are protected against termination",
            objects=tuple(f"machine {i}" for i in locked),
            remedy="clear DisableApiTermination of these instances (aws ec2 modify-instance-attribute "
            "--no-disable-api-termination), or rotate other groups",
        )


def _pods(subjects: Sequence[Subject], snapshot: Snapshot) -> Iterator[Blocker]:
    """Pods on drifted machines that no drain could ever evict, one blocker per cause."""
    policies = {m.node: s.policy for s in subjects for m in s.drifted if m.node and s.policy.drain.force_after is None}
    by_namespace = _by_namespace(snapshot.budgets)
    found = (_blocked(pod, policies[pod.node], by_namespace, snapshot) for pod in snapshot.pods if pod.node in policies)
    yield from merged(
        Blocker(reason=blocked.reason, objects=blocked.objects, remedy=blocked.remedy) for blocked in found if blocked
    )


def _nodes(subjects: Sequence[Subject], snapshot: Snapshot) -> Iterator[Blocker]:
    """Nodes that ask not to be disrupted, where the policy says that this blocks."""
    now = snapshot.taken_at
    for subject in subjects:
        ids, policy = subject.ids, subject.policy.drain
        for node in snapshot.nodes:
            if node.instance_id not in ids or policy.force_after is not None:
                continue
            found = eviction.decide_node(node, policy, drain_started_at=now, now=now)
            if isinstance(found, eviction.Block):
                yield Blocker(reason=found.blocked.reason, objects=found.blocked.objects, remedy=found.blocked.remedy)


def _blocked(pod: Pod, policy: Policy, budgets: Mapping[str, list[Budget]], snapshot: Snapshot) -> Blocked | None:
    now, covering = snapshot.taken_at, budgets.get(pod.namespace, ())
    found = eviction.decide(pod, policy.drain, covering, workloads=snapshot.workloads, drain_started_at=now, now=now)
    return found.blocked if isinstance(found, eviction.Block) else None


def _by_namespace(budgets: Sequence[Budget]) -> Mapping[str, list[Budget]]:
    found: dict[str, list[Budget]] = {}
    for budget in budgets:
        found.setdefault(budget.namespace, []).append(budget)
    return found


def _notes(subject: Subject) -> Iterator[str]:
    scaling, plan = subject.scaling, subject.plan
    if scaling.max_lifetime_s:
        yield f"{scaling.name} replaces machines older than {scaling.max_lifetime_s}s itself (MaxInstanceLifetime)"
    if scaling.capacity_rebalance:
        yield f"{scaling.name} may replace Spot machines at risk by itself (CapacityRebalance)"
    if scaling.warm_pool:
        yield f"the warm pool of {scaling.name} is renewed: its machines on another image are terminated"
    if plan.strategy is not Strategy.MANAGED:
        yield from group_notes(subject.policy, scaling)
    if plan.role is Role.CONTROL_PLANE:
        yield from _master_notes(subject)
    if plan.needs_image_step and plan.image_step is ImageStep.LAUNCH_TEMPLATE:
        yield f"a new version of template {_template(scaling, plan.target)} will launch {plan.target.image.id}"
    if plan.needs_image_step and plan.image_step is ImageStep.COMMAND and subject.policy.image_command:
        yield f"{' '.join(subject.policy.image_command.argv)} will have {plan.asg} launch {plan.target.image.id}"
    if plan.needs_image_step and plan.image_step is ImageStep.POD and subject.policy.image_pod:
        yield f"a pod in {subject.policy.image_pod.namespace} will have {plan.asg} launch {plan.target.image.id}"
    yield from _size_notes(plan, scaling)


def _size_notes(plan: GroupPlan, scaling: ScalingGroup) -> Iterator[str]:
    if plan.strategy is Strategy.SURGE and scaling.desired + plan.slots > scaling.max:
        yield f"the max size of {scaling.name} is raised from {scaling.max} for the run, and restored after it"
    if plan.strategy is Strategy.TERMINATE_FIRST and (short := shortage(scaling)):
        yield f"{short}: what is missing counts against max_unavailable until it comes"


def _master_notes(subject: Subject) -> Iterator[str]:
    plan, scaling = subject.plan, subject.scaling
    if plan.strategy is not Strategy.TERMINATE_FIRST:
        yield f"group {plan.name} is a control plane: one machine at a time; etcd's quorum is not checked"
    elif len(scaling.zones) > 1:
        yield f"{scaling.name} spans {', '.join(scaling.zones)}: a master's volume can't follow it into another zone"


def _template(scaling: ScalingGroup, target: Target) -> str:
    return label(target.template) if target.template else scaling.template.name
