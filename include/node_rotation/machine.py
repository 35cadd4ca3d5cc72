"""One machine, outside any plan: detach it, drain it, terminate it, delete its Node. Each is a call of its own.

The lock of the cluster is held meanwhile, so that no rotation works on the same budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from node_rotation import lock, names
from node_rotation.control_plane import quorum
from node_rotation.detect import make_run
from node_rotation.drift import PROVIDER_ID
from node_rotation.errors import BadInputError, BlockedError, GoneError, PermanentError, TransientError
from node_rotation.fleet import NodeGroup, Settings
from node_rotation.model import Strategy
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.planning import empty_plan
from node_rotation.policy import Policy
from node_rotation.run import Run
from node_rotation.scaling import hooks, targets
from node_rotation.scaling.detaching import refusal
from node_rotation.scaling.targets import checks_targets
from node_rotation.steps import traffic
from node_rotation.steps.drain import evict_from, heed, standing
from node_rotation.steps.launch import detach as detach_now
from node_rotation.steps.masters import require_may_go
from node_rotation.steps.protection import protected
from node_rotation.steps.scene import busy_pods, gone, span, stays, terminated
from node_rotation.steps.step import MARGIN_S
from node_rotation.steps.terminate import terminate as terminate_now
from node_rotation.workloads.attachments import still_attached
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.clients import Clock, Cloud, Cluster
from node_rotation.world.kubernetes import Node
from node_rotation.world.snapshot import Snapshot

Tell = Callable[[str], None]
_DETACH_REMEDY = "Leave --detach out, or set allow_detach_behind_load_balancer: true for this group."


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of a cluster, found by the name of its Node or by its instance id.

    :param asg: the Auto Scaling group of the fleet that it is a member of, or None.
    :param group: that group's name in the fleet, or None.
    :param policy: its group's policy, or the cluster's.
    """

    instance_id: str
    asg: str | None
    group: str | None
    policy: Policy
    node: str | None


@contextmanager
def holding(settings: Settings, cloud: Cloud, cluster: Cluster, clock: Clock, holder: str) -> Iterator[Run]:
    """Hold a cluster's lock for as long as one machine is worked on.

    :param holder: the lock's holder, unique.
    :raises BlockedError: if a run is at work there.
    """
    plan = empty_plan("one-machine", settings, clock.now())
    run = make_run(holder, plan, settings, cloud, cluster, clock)
    try:
        lock.acquire(run)
        yield run
    finally:
        lock.release(run)


def find(settings: Settings, snapshot: Snapshot, name: str) -> Machine:
    """Find a machine of a cluster. Reads nothing and changes nothing.

    :param snapshot: an observation, from ``detect.observe``.
    :param name: the name of its Node, or its instance id.
    :raises BadInputError: if the cluster has neither, or no machine is known behind the Node.
    """
    node = next((n for n in snapshot.nodes if name in (n.name, n.instance_id)), None)
    instance_id = node.instance_id if node else name
    asg = next((g for g in snapshot.groups.values() if g.member(instance_id)), None)
    if node is None and asg is None:
        raise BadInputError(
            "NODE",
            f"{settings.name} has no node and no machine {name!r}.",
            "Give a Node's name as kubectl shows it, or an instance id of one of the fleet's groups.",
        )
    if not instance_id:
        problem = f"node {name} has no AWS providerID, so no machine is known to be behind it."
        raise BadInputError("NODE", problem, f"{PROVIDER_ID} Until then: kubectl drain {name}.")
    group = _group_of(settings, asg, snapshot) if asg else None
    policy = settings.groups[group.name] if group else settings.policy
    names_of = (asg.name if asg else None, group.name if group else None)
    return Machine(instance_id, *names_of, policy, node.name if node else None)


def detach(run: Run, machine: Machine, *, for_good: bool) -> None:
    """Take a machine out of its group, which launches another one. A no-op if it is in none.

    :param for_good: it will be terminated: it is tagged first, so that a sweep finishes what a crash left.
    :raises BlockedError: if it serves a load balancer and the policy does not allow that, if EKS manages it, if it is a
        master that may not go, or if it is to be terminated and protected against that.
    """
    lock.require(run)
    if for_good:
        _refuse_protected(run, machine)
    if machine.asg is None:
        return
    if machine.policy.strategy is Strategy.MANAGED:
        reason = f"instance {machine.instance_id} belongs to a managed node group, whose Auto Scaling group is EKS'"
        raise BlockedError(Blocked(reason, (f"asg {machine.asg}",), "Leave --detach out."))
    group = run.cloud.groups([machine.asg])[machine.asg]
    allowed = machine.policy.allow_detach_behind_load_balancer
    if refused := refusal(group, allowed=allowed, remedy=_DETACH_REMEDY):
        raise BlockedError(replace(refused, objects=(f"instance {machine.instance_id}", *refused.objects)))
    member = group.member(machine.instance_id)
    if member is None or not stays(member.lifecycle):
        return
    require_may_go(run, machine.instance_id)
    if for_good:
        tags = {names.RUN: run.id, names.DETACHED_FROM: machine.asg}
        run.cloud.tag_instances([machine.instance_id], tags)
    detach_now(run, machine.asg, [machine.instance_id])


def drain(run: Run, machine: Machine, tell: Tell = lambda line: None, *, for_good: bool = False) -> None:
    """Cordon a machine's Node and let every pod leave through the eviction API. The cordon stays.

    :param tell: told what it waits for, when that changes.
    :param for_good: it will be terminated: it leaves its target groups first, unless nobody healthy would be left.
    :raises BlockedError: by a pod that can't leave, or once the policy's ``drain.timeout`` is over; for good also if it
        is protected against termination, is a master that may not go, or gets requests still after
        ``deregister_timeout``.
    """
    if not for_good:
        _empty(run, machine, tell)
        return
    _refuse_protected(run, machine)
    require_may_go(run, machine.instance_id)
    _cordon(run, run.look().node_of(machine.instance_id))
    try:
        _leave_targets(run, machine, tell)
        _empty(run, machine, tell)
    except (BlockedError, PermanentError):
        _rejoin(run, machine)
        raise


def _empty(run: Run, machine: Machine, tell: Tell) -> None:
    began = run.clock.now()

    def step() -> Outcome:
        snapshot = run.look()
        node = snapshot.node_of(machine.instance_id)
        if node is None:
            return Done()
        _cordon(run, node)
        since = max(began, snapshot.watched_since)
        asked = evict_from(run, snapshot, (node,), since, machine.policy.drain, None)
        heed(asked.stopped)
        return standing(run.look(), (node,), machine.policy, since, run.clock.now(), asked.denied)

    _until_done(run, step, machine.policy.drain.timeout + MARGIN_S, f"node {machine.node}", tell)


def _cordon(run: Run, node: Node | None) -> None:
    if node is None or node.unschedulable:
        return
    lock.require(run)
    with suppress(GoneError):
        run.cluster.cordon(node.name, node.uid)
    run.look.forget()


def terminate(run: Run, machine: Machine, tell: Tell = lambda line: None) -> None:
    """Terminate a machine that is drained, and wait until EC2 says terminated. Its group launches another one.

    It goes once its volumes are detached and no request can reach it.

    :raises BlockedError: if pods are still on it, if it is protected against termination or a master that may not go,
        or if it gets requests still after ``deregister_timeout``, or is still there after ``terminate_timeout``.
    """
    policy, what = machine.policy, f"instance {machine.instance_id}"
    _refuse(run, machine)
    _refuse_protected(run, machine)
    _leave_targets(run, machine, tell)
    _until_done(run, lambda: _rid_of_volumes(run, machine), policy.terminate_timeout, what, tell)
    _refuse(run, machine)  # by the world as it is now: that may have taken long
    began = run.clock.now()

    def step() -> Outcome:
        instance = run.cloud.instances([machine.instance_id]).get(machine.instance_id)
        if not gone(instance):
            terminate_now(run, machine.asg, machine.instance_id, decrement=False)
        if terminated(instance):
            return Done()
        return Waiting((_going(run, machine, instance.state if instance else "unknown", began),))

    group = _scaling_of(run, machine)
    patience_s = hooks.patience_s(group, hooks.TERMINATING, policy.hook_timeout) if group else 0.0
    _until_done(run, step, policy.terminate_timeout + patience_s, what, tell)


def delete_node(run: Run, machine: Machine) -> None:
    """Delete the Node object of a machine that EC2 says is terminated. A no-op if it is gone.

    :raises BlockedError: if the machine still runs: its kubelet would come back as a new Node.
    """
    snapshot = run.look()
    node = snapshot.node_of(machine.instance_id)
    if node is None:
        return
    if not terminated(snapshot.instances.get(machine.instance_id)):
        raise BlockedError(
            Blocked("the machine still runs", (f"instance {machine.instance_id}",), "Terminate it first.")
        )
    lock.require(run)
    with suppress(GoneError):
        run.cluster.delete_node(node.name, node.uid)
    run.look.forget()


def _refuse(run: Run, machine: Machine) -> None:
    snapshot = run.look()
    node = snapshot.node_of(machine.instance_id)
    if busy_pods(snapshot, node):
        raise BlockedError(Blocked("the machine is not drained", (f"node {machine.node}",), "Drain it first."))
    require_may_go(run, machine.instance_id)


def _refuse_protected(run: Run, machine: Machine) -> None:
    blocked = protected(run.cloud.instances([machine.instance_id]).get(machine.instance_id))
    if blocked is not None:
        remedy = "Turn its termination protection off (DisableApiTermination), then start again."
        raise BlockedError(replace(blocked, remedy=remedy))


def _rid_of_volumes(run: Run, machine: Machine) -> Outcome:
    """Done once a machine would take no volume with it: its pod would start nowhere for six minutes."""
    snapshot = run.look()
    node = snapshot.node_of(machine.instance_id)
    if node is None or gone(snapshot.instances.get(machine.instance_id)):
        return Done()
    volumes = still_attached(snapshot, node)
    waits = tuple(f"volume {volume.name} is still attached to node {node.name}" for volume in volumes)
    return Waiting(waits, machine.policy.poll) if waits else Done()


def _leave_targets(run: Run, machine: Machine, tell: Tell) -> None:
    """Take a machine out of its group's target groups, and wait until no request can reach it.

    Where Auto Scaling replaces, undrained, what is deregistered (``checks_targets``), that is left to it: it
    deregisters what it terminates.
    """

    def step() -> Outcome:
        snapshot = run.look()
        group = snapshot.groups.get(machine.asg or "")
        if group is None or (group.member(machine.instance_id) is not None and checks_targets(group)):
            return Done()
        kept = _kept(run, machine, group, snapshot)
        if not kept:
            _deregister(run, machine, group, snapshot)
        waits = tuple(targets.waits(group, run.look().targets, machine.instance_id, kept))
        return Waiting(waits, machine.policy.poll) if waits else Done()

    _until_done(run, step, machine.policy.deregister_timeout, f"instance {machine.instance_id}", tell)


def _kept(run: Run, machine: Machine, group: ScalingGroup, snapshot: Snapshot) -> tuple[str, ...]:
    """The target groups that have nobody else who is healthy; an outage of the masters may have been accepted."""
    accepted = run.settings.policy.control_plane.allow_outage
    if accepted and quorum.is_master(run.settings, snapshot, machine.instance_id):
        return ()
    return targets.last_of(group.target_groups, snapshot.targets, [machine.instance_id])


def _deregister(run: Run, machine: Machine, group: ScalingGroup, snapshot: Snapshot) -> None:
    """The Node says beforehand where, so that a sweep puts back what a crash left."""
    serving = targets.serving(group, snapshot.targets, machine.instance_id)
    node = snapshot.node_of(machine.instance_id)
    if serving and node is not None:
        traffic.mark(run, node, serving)
    for arn, ports in serving.items():
        lock.require(run)
        with suppress(GoneError):  # somebody deleted the target group
            run.cloud.deregister_targets(arn, {machine.instance_id: ports})
    if serving:
        run.look.forget()


def _rejoin(run: Run, machine: Machine) -> None:
    """It stays after all, with pods on it."""
    run.look.forget()
    if (node := run.look().node_of(machine.instance_id)) is not None:
        with suppress(GoneError):
            traffic.rejoin(run, node)
        run.look.forget()


def _going(run: Run, machine: Machine, state: str, since: float) -> str:
    """What a machine waits for that was told to go."""
    group = _scaling_of(run, machine)
    held = hooks.waiting(group, group.member(machine.instance_id), since) if group else ""
    return f"instance {machine.instance_id} {f'waits for {held}' if held else f'is {state}'}"


def _scaling_of(run: Run, machine: Machine) -> ScalingGroup | None:
    return run.cloud.groups([machine.asg]).get(machine.asg) if machine.asg else None


def _until_done(run: Run, step: Callable[[], Outcome], limit_s: float, what: str, tell: Tell) -> None:
    began, said = run.clock.now(), ""
    while not isinstance(outcome := _tried(run, step), Done):
        if isinstance(outcome, Blocked):
            raise BlockedError(outcome)
        if run.clock.now() - began > limit_s and run.waited(began) > limit_s:
            reason = f"not done after {span(limit_s)}: {'; '.join(outcome.reasons)}"
            raise BlockedError(Blocked(reason, (what,), "Look at what it waits for, then start again."))
        if (line := "; ".join(outcome.reasons)) != said:
            tell(f"waits: {line}")
            said = line
        run.clock.wait(outcome.poll_s)


def _tried(run: Run, step: Callable[[], Outcome]) -> Outcome:
    """Act and look once; whoever only waits keeps the lock all the same."""
    try:
        outcome = step()
        if isinstance(outcome, Waiting):
            lock.keep(run, run.look().lease)
        return outcome
    except TransientError as error:
        return Waiting((str(error),), error.retry_after_s)


def _group_of(settings: Settings, asg: ScalingGroup, snapshot: Snapshot) -> NodeGroup | None:
    """The fleet's group behind an Auto Scaling group; None for one that only a ledger still names."""
    eks = snapshot.managed.get(asg.name)
    for group in settings.cluster.groups:
        if eks is not None and (group.eks_cluster, group.nodegroup) == (eks.cluster, eks.name):
            return group
        if group.names_asg(asg.name, asg.tags):
            return group
    return None
