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
from node_rotation.errors import BadInputError, BlockedError, GoneError, TransientError
from node_rotation.fleet import NodeGroup, Settings
from node_rotation.model import Strategy
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.planning import empty_plan
from node_rotation.policy import Policy
from node_rotation.run import Run
from node_rotation.scaling import hooks
from node_rotation.scaling.detaching import refusal
from node_rotation.steps.drain import evict_from, heed, standing
from node_rotation.steps.launch import detach as detach_now
from node_rotation.steps.scene import busy_pods, gone, span, stays, terminated
from node_rotation.steps.step import MARGIN_S
from node_rotation.steps.terminate import terminate as terminate_now
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.clients import Clock, Cloud, Cluster
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
    lock.acquire(run)
    try:
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
    :raises BlockedError: if it serves a load balancer and the policy does not allow that, or if EKS manages it.
    """
    lock.require(run)
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
    if for_good:
        tags = {names.RUN: run.id, names.DETACHED_FROM: machine.asg}
        run.cloud.tag_instances([machine.instance_id], tags)
    detach_now(run, machine.asg, [machine.instance_id])


def drain(run: Run, machine: Machine, tell: Tell = lambda line: None) -> None:
    """Cordon a machine's Node and let every pod leave through the eviction API. The cordon stays.

    :param tell: told what it waits for, when that changes.
    :raises BlockedError: by a pod that can't leave, or once the policy's ``drain.timeout`` is over.
    """
    began = run.clock.now()

    def step() -> Outcome:
        snapshot = run.look()
        node = snapshot.node_of(machine.instance_id)
        if node is None:
            return Done()
        if not node.unschedulable:
            lock.require(run)
            run.cluster.cordon(node.name, node.uid)
            run.look.forget()
        heed(evict_from(run, snapshot, (node,), began, machine.policy.drain, None))
        return standing(run.look(), (node,), machine.policy, began, run.clock.now())

    _until_done(run, step, machine.policy.drain.timeout + MARGIN_S, f"node {machine.node}", tell)


def terminate(run: Run, machine: Machine, tell: Tell = lambda line: None) -> None:
    """Terminate a machine that is drained, and wait until EC2 says terminated. Its group launches another one.

    :raises BlockedError: if pods are still on it, if it is a master that may not go, or if it is still there after
        ``terminate_timeout``.
    """
    snapshot = run.look()
    node = snapshot.node_of(machine.instance_id)
    if busy_pods(snapshot, node):
        raise BlockedError(Blocked("the machine is not drained", (f"node {machine.node}",), "Drain it first."))
    if held := quorum.before(run.settings, snapshot, [machine.instance_id]) if _is_master(run, machine) else ():
        remedy = "Bring the control plane back to health; control_plane in the fleet file says what is accepted."
        raise BlockedError(Blocked(f"a master may not go: {'; '.join(held)}", (f"node {machine.node}",), remedy))

    began = run.clock.now()

    def step() -> Outcome:
        instance = run.cloud.instances([machine.instance_id]).get(machine.instance_id)
        if not gone(instance):
            terminate_now(run, machine.asg, machine.instance_id, decrement=False)
        if terminated(instance):
            return Done()
        return Waiting((_going(run, machine, instance.state if instance else "unknown", began),))

    group, policy = _scaling_of(run, machine), machine.policy
    patience_s = hooks.patience_s(group, hooks.TERMINATING, policy.hook_timeout) if group else 0.0
    _until_done(run, step, policy.terminate_timeout + patience_s, f"instance {machine.instance_id}", tell)


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


def _going(run: Run, machine: Machine, state: str, since: float) -> str:
    """What a machine waits for that was told to go."""
    group = _scaling_of(run, machine)
    held = hooks.waiting(group, group.member(machine.instance_id), since) if group else ""
    return f"instance {machine.instance_id} {f'waits for {held}' if held else f'is {state}'}"


def _scaling_of(run: Run, machine: Machine) -> ScalingGroup | None:
    return run.cloud.groups([machine.asg]).get(machine.asg) if machine.asg else None


def _is_master(run: Run, machine: Machine) -> bool:
    return machine.group is not None and quorum.guards(run.settings, machine.group, machine.policy.strategy)


def _until_done(run: Run, step: Callable[[], Outcome], limit_s: float, what: str, tell: Tell) -> None:
    began, said = run.clock.now(), ""
    while not isinstance(outcome := _tried(run, step), Done):
        if isinstance(outcome, Blocked):
            raise BlockedError(outcome)
        if run.clock.now() - began > limit_s:
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
