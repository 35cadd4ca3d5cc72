"""Launch: have the group start a replacement for each old machine, and see it in service and usable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node_rotation import lock, names
from node_rotation.errors import PermanentError
from node_rotation.ledger import ClaimState
from node_rotation.model import Batch, StepName, Strategy
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.scaling.detaching import refusal
from node_rotation.scaling.targets import labels
from node_rotation.steps import first, traffic
from node_rotation.steps.arrival import aws_says, keep, left_out, patience
from node_rotation.steps.assignment import assign, raise_desired, spare, unasked
from node_rotation.steps.prepare import ensure
from node_rotation.steps.protection import ask_once
from node_rotation.steps.scene import (
    Scene,
    acting,
    busy_pods,
    fresh_group,
    gone,
    ledger_of,
    over,
    scene,
    staying,
    taken_back,
)
from node_rotation.steps.step import MARGIN_S
from node_rotation.steps.usable import Problem, problem
from node_rotation.workloads.attachments import stranded
from node_rotation.world.aws import ScalingGroup


@dataclass(frozen=True, slots=True)
class Launch:
    """Done once every old machine has a replacement that is InService, Ready and usable.

    Where the old machine goes first there is nothing to launch: done once it may go.
    """

    name: StepName = StepName.LAUNCH

    def act(self, run: Run, batch: Batch) -> None:
        """Raise desired or detach, assign newcomers to batches, keep the autoscaler off them."""
        if over(run, batch):
            return
        ledger = ledger_of(run.look().lease, run.id)
        if ledger is None or batch.group not in ledger.groups:
            ensure(run, batch.group)
        place = acting(run, batch)
        if place.claim.strategy is Strategy.TERMINATE_FIRST:
            return
        if place.claim.state is not ClaimState.ADMITTED or _refused(place):
            return
        if len(place.claim.replacements) < len(place.claim.machines) or _lost(place) or unasked(place):
            asked = _make_room(place)
            assign(run, batch.group, place.baseline.asg)
            if not asked and (_full(place) or place.claim.spared):
                spare(run, batch.group)
        keep(place)

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done, or why the replacement is not there yet; Blocked once ``launch_timeout`` has passed."""
        if over(run, batch):
            return Done("the old machines are gone")
        place = scene(run, batch)
        if isinstance(place, Blocked):
            return place
        if place.claim.state is ClaimState.PASSED:
            return Done("the batch has passed")  # what became of its replacements since is no matter of this step
        if back := taken_back(place):
            return back
        if place.claim.strategy is Strategy.TERMINATE_FIRST:
            return first.permission(place)
        if refused := _refused(place):
            return refused
        problems = [p for old in place.claim.machines if (p := _missing(place, old)) is not None] or _homeless(place)
        if not problems:
            return Done("; ".join((f"{len(place.claim.machines)} replacements are in service", *left_out(place))))
        waited = place.waited(place.claim.since)
        if wrong := next((p for p in problems if p.final), None):
            return wrong.blocked(waited)
        if waited > run.policy(batch).launch_timeout + patience(place, problems):
            return min(problems, key=lambda p: not p.image_fault).blocked(waited)
        return Waiting(tuple(p.text for p in problems), run.policy(batch).poll)

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """The policy's ``launch_timeout`` and ``hook_timeout``, and a margin."""
        policy = run.policy(batch)
        return policy.launch_timeout + policy.hook_timeout + MARGIN_S


def _make_room(place: Scene) -> bool:
    """Have the group launch what is needed; False if it was asked for all of it before."""
    if place.claim.strategy is Strategy.SURGE:
        return raise_desired(place.run, place.claim.group)
    return _detach(place)


def _detach(place: Scene) -> bool:
    run, asg = place.run, place.baseline.asg
    group = fresh_group(run, asg)
    inside = [m for m in place.claim.machines if _in_service(group, m)]
    if not inside:
        return False
    ask_once(place)
    if place.group.target_groups and not traffic.may_leave(place):
        return False
    run.cloud.tag_instances(inside, {names.DETACHED_FROM: asg, names.RUN: place.ledger.run})
    lock.require(run)
    detach(run, asg, inside)
    return True


def detach(run: Run, asg: str, machines: Sequence[str]) -> None:
    """Detach members of a group; one that somebody, or a call whose answer was lost, has detached before is no error.

    :raises PermanentError: if they are all still in service.
    """
    try:
        run.cloud.detach(asg, machines)
    except PermanentError:  # AWS: "not in InService or Standby"
        group = fresh_group(run, asg)
        if all(_in_service(group, m) for m in machines):
            raise
    run.look.forget()


def _full(place: Scene) -> bool:
    return len(staying(place.group)) >= place.group.desired


def _in_service(group: ScalingGroup, instance_id: str) -> bool:
    member = group.member(instance_id)
    return member is not None and member.lifecycle == "InService"


def _lost(place: Scene) -> bool:
    """Whether an assigned replacement went away again (a spot interruption, a failed health check)."""
    return any(gone(place.snapshot.instances.get(new)) for new in place.claim.replacements.values())


def _refused(place: Scene) -> Blocked | None:
    """Detaching would cut traffic or bypass hooks; the plan said so, but the group may have got them since."""
    policy = place.run.settings.groups[place.claim.group]
    if place.claim.strategy is not Strategy.DETACH:
        return None
    return refusal(place.group, allowed=policy.allow_detach_behind_load_balancer)


def _kept(place: Scene) -> Problem | None:
    """Machines that may be detached, but would take the last healthy target with them."""
    inside = [m for m in place.claim.machines if _in_service(place.group, m)]
    if place.claim.strategy is not Strategy.DETACH or not (inside and (arns := traffic.last(place))):
        return None
    objects = tuple(f"instance {m}" for m in inside)
    text = f"{' and '.join(objects)} can't be detached: nobody else is healthy in {labels(arns)}"
    return Problem(text, objects, remedy="Bring another machine there to health, or use strategy: surge.")


def _missing(place: Scene, old: str) -> Problem | None:
    new = place.claim.replacements.get(old)
    if old in place.claim.spared or place.taken_out(old):
        return None  # one less is wanted, or it is not ours any more
    if new is None or new not in place.snapshot.instances:
        if gone(place.snapshot.instances.get(old)):
            return None  # the old machine went by itself: nothing to replace, nothing to wait for
        text = f"asg {place.group.name} has not launched a replacement for {old}{aws_says(place)}"
        return _kept(place) or Problem(text, (old,), launched=False)
    target = place.run.plan.group(place.claim.group).target.image.id
    served, sick, not_ready = place.baseline.served, place.sick, place.not_ready
    return problem(place.snapshot, place.group, new, old, target, served, sick, not_ready)


def _homeless(place: Scene) -> list[Problem]:
    """Pods of the old machines whose zonal volume no other node could use, also with the replacements there."""
    old = place.old_nodes()
    pods = [pod for node in old for pod in busy_pods(place.snapshot, node) if pod.claims]
    found = stranded(place.snapshot, pods, {node.name for node in old})
    remedy = "Have the group launch in that zone; strategy: detach replaces a machine where it was."
    return [Problem(str(s), (f"pod {s.pod.key}", f"volume {s.volume.name}"), remedy=remedy) for s in found]
