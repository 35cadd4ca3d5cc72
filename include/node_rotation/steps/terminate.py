"""Terminate: the machines that were verified drained go, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from node_rotation import lock
from node_rotation.errors import GoneError
from node_rotation.ledger import ClaimState, claim_change
from node_rotation.model import Batch, StepName, Strategy
from node_rotation.outcome import CLEAR_BATCH, Blocked, Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.scaling import hooks
from node_rotation.steps import first, sizing, traffic
from node_rotation.steps.protection import protected
from node_rotation.steps.scene import Scene, acting, busy_pods, fresh_group, gone, over, scene, span, stays, taken_back
from node_rotation.steps.step import MARGIN_S
from node_rotation.workloads.attachments import still_attached

_REMEDY = f"Look at the owner of the machine's lifecycle hook; hook_timeout says how long we wait. Then {CLEAR_BATCH}"


@dataclass(frozen=True, slots=True)
class Terminate:
    """Done once EC2 shuts every old machine down; the gate sees them terminated and removes their Nodes.

    Where the old machine goes first, done once its replacement is in service.
    """

    name: StepName = StepName.TERMINATE

    def act(self, run: Run, batch: Batch) -> None:
        """Terminate each old machine that is cordoned, empty, and rid of its volumes."""
        if over(run, batch):
            return
        place = acting(run, batch)
        if not place.claim.open:
            return
        if place.claim.strategy is Strategy.TERMINATE_FIRST:
            run.look.forget()  # what may go is decided by the world as it is now
            place = acting(run, batch)
            if place.claim.state is not ClaimState.ADMITTED or not _now(place):
                return
        going = _going(place)
        ready = [m for m in going if _keeps(place, m) is None and not _told(place, m)]
        if ready and place.claim.terminate_since is None:
            lock.change(run, claim_change(batch.name, terminate_since=run.clock.now()))
        for machine in ready:
            terminate(run, place.baseline.asg, machine, decrement=place.claim.strategy is Strategy.SURGE)

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done, or which machine still runs."""
        if over(run, batch):
            return Done("the old machines are gone")
        place = scene(run, batch)
        if isinstance(place, Blocked):
            return place
        going = _going(place)
        if not going and place.claim.open and place.claim.strategy is Strategy.TERMINATE_FIRST:
            return first.arrived(place)
        if not going:
            return Done("the old machines are shutting down")
        if back := taken_back(place):
            return back
        if held := first.held_back(place):
            return Waiting(held, run.policy(batch).poll)
        if blocked := next((b for m in going if (b := _hopeless(place, m)) is not None), None):
            return blocked
        waited, policy = place.waited(place.claim.terminate_since or place.now), run.policy(batch)
        reasons = tuple(_keeps(place, m) or _still(place, m) for m in going)
        if waited > policy.terminate_timeout + hooks.patience_s(place.group, hooks.TERMINATING, policy.hook_timeout):
            objects = tuple(f"instance {m}" for m in going)
            return Blocked(f"{reasons[0]}, for {span(waited)}", objects, _REMEDY)
        return Waiting(reasons, policy.poll)

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """``terminate_timeout``, ``hook_timeout`` and a margin; where the replacement comes now, what that may take."""
        policy = run.policy(batch)
        last = policy.launch_timeout + policy.hook_timeout
        if run.group(batch).strategy is not Strategy.TERMINATE_FIRST:
            last = 0.0
        return policy.terminate_timeout + policy.hook_timeout + last + MARGIN_S


def terminate(run: Run, asg: str | None, instance_id: str, *, decrement: bool) -> None:
    """Terminate a machine: through its group while it is a member, else through EC2.

    The group is described first, so a call whose answer was lost is not repeated.

    :param asg: None: it is a member of none.
    :param decrement: lower desired with it, so that the group does not replace it.
    """
    ledger = lock.require(run).ledger
    known = next((name for name, baseline in ledger.groups.items() if baseline.asg == asg), None)
    if decrement and known is not None:
        sizing.leave(run, known, instance_id)
        return
    member = fresh_group(run, asg).member(instance_id) if asg else None
    try:
        if member is None:
            run.cloud.terminate(instance_id)
        elif stays(member.lifecycle):
            run.cloud.terminate_in_group(instance_id, decrement=decrement)
    except GoneError:  # somebody was faster
        pass
    run.look.forget()


def _going(place: Scene) -> list[str]:
    """The machines that still have to go."""
    return [m for m in place.claim.machines if not (gone(place.snapshot.instances.get(m)) or place.taken_out(m))]


def _now(place: Scene) -> bool:
    """Whether there is a machine to terminate now; else the replacements that have come are taken in."""
    if all(gone(place.snapshot.instances.get(m)) for m in place.claim.machines):
        first.welcome(place)
        return False
    return not first.held_back(place)


def _keeps(place: Scene, machine: str) -> str | None:
    """What keeps a machine from being terminated, or None."""
    node = place.snapshot.node_of(machine)
    if node is None:
        return None
    if not node.unschedulable:
        return f"node {node.name} is not cordoned any more"
    pods = busy_pods(place.snapshot, node)
    if pods:
        return f"pod {pods[0].key} is still on node {node.name}"
    if served := traffic.keeps(place, machine):
        return served
    attached = still_attached(place.snapshot, node)
    return f"volume {attached[0].name} is still attached to node {node.name}" if attached else None


def _told(place: Scene, machine: str) -> bool:
    """Whether its group lets go of a machine already, which a hook may delay for an hour: not told again each look."""
    member = place.group.member(machine)
    return member is not None and not stays(member.lifecycle)


def _still(place: Scene, machine: str) -> str:
    """What a machine waits for that was told to go."""
    held = hooks.waiting(place.group, place.group.member(machine), place.claim.terminate_since or place.now)
    return f"instance {machine} waits for {held}" if held else f"instance {machine} still runs"


def _hopeless(place: Scene, machine: str) -> Blocked | None:
    """What no waiting ends: somebody protects the machine, or its group was told to retain it."""
    member = place.group.member(machine)
    if member is None or member.lifecycle != hooks.RETAINED:
        return protected(place.snapshot.instances.get(machine))
    return Blocked(
        f"asg {place.group.name} retains instance {machine}: a terminating hook was abandoned",
        (f"instance {machine}", f"asg {place.group.name}"),
        f"Look at what its hook's owner left to do, terminate the instance by hand, then {CLEAR_BATCH}",
    )
