"""Terminate first: the old machine goes, then its group's own replacement is waited for (docs/adr/0013).

The launch step asks whether the machine may go, the terminate step asks again and waits for the replacement.
"""

from __future__ import annotations

from node_rotation.control_plane import quorum
from node_rotation.outcome import CLEAR_BATCH, Blocked, Done, Outcome, Waiting
from node_rotation.scaling import hooks
from node_rotation.steps.arrival import aws_says, keep, left_out, patience
from node_rotation.steps.assignment import assign, newcomers
from node_rotation.steps.scene import Scene, gone, span, stays
from node_rotation.steps.usable import Problem, problem


def permission(place: Scene) -> Outcome:
    """Whether the batch's machines may go; Blocked once ``launch_timeout`` has passed."""
    reasons = held_back(place)
    if not reasons:
        return Done("the old machines may go")
    policy, waited = place.run.settings.groups[place.claim.group], place.waited(place.claim.since)
    if waited > policy.launch_timeout:
        return Blocked(
            f"a master may not go: {reasons[0]}, for {span(waited)}",
            tuple(f"instance {machine}" for machine in place.claim.machines),
            f"Bring the control plane back to health, then {CLEAR_BATCH}",
        )
    return Waiting(reasons, policy.poll)


def held_back(place: Scene) -> tuple[str, ...]:
    """Why machines that are not yet on their way may not go now.

    Whether they are is read from the world: a run may have died between its note and its call.
    """
    left = [m for m in place.claim.machines if _in_place(place, m)]
    settings, claim = place.run.settings, place.claim
    if not left or not quorum.guards(settings, claim.group, claim.strategy):
        return ()
    return quorum.before(settings, place.snapshot, left)


def _in_place(place: Scene, machine: str) -> bool:
    member = place.group.member(machine)
    leaves = member is not None and not stays(member.lifecycle)
    return not leaves and not gone(place.snapshot.instances.get(machine))


def welcome(place: Scene) -> None:
    """Give what the group launched to the batch, and keep the autoscaler off it."""
    claim = place.claim
    lost = any(gone(place.snapshot.instances.get(new)) for new in claim.replacements.values())
    if len(claim.replacements) < len(claim.machines) or lost:
        assign(place.run, claim.group, place.baseline.asg)
    keep(place)


def arrived(place: Scene) -> Outcome:
    """Done once every replacement is usable; Blocked once the time of both halves has passed."""
    problems = [p for old in place.claim.machines if (p := _missing(place, old)) is not None]
    if not problems:
        return Done("; ".join(("the replacements are in service", *left_out(place))))
    policy = place.run.settings.groups[place.claim.group]
    waited = place.waited(place.claim.terminate_since or place.claim.since)
    if wrong := next((p for p in problems if p.final), None):
        return wrong.blocked(waited)
    slow = hooks.patience_s(place.group, hooks.TERMINATING, policy.hook_timeout) + patience(place, problems)
    if waited > policy.terminate_timeout + policy.launch_timeout + slow:
        return min(problems, key=lambda p: not p.image_fault).blocked(waited)
    return Waiting(tuple(p.text for p in problems), policy.poll)


def _missing(place: Scene, old: str) -> Problem | None:
    new = place.claim.replacements.get(old)
    if new is None or new not in place.snapshot.instances:
        if _full(place):
            return None  # the group was made smaller meanwhile
        text = f"asg {place.group.name} has not launched a replacement for {old}{aws_says(place)}"
        return Problem(text, (old,), launched=False)
    target = place.run.plan.group(place.claim.group).target.image.id
    served, sick, not_ready = place.baseline.served, place.sick, place.not_ready
    strayed = _strayed(place, old, new)
    return strayed or problem(place.snapshot, place.group, new, old, target, served, sick, not_ready)


def _full(place: Scene) -> bool:
    """Without the old machines, which an observation may still list; who has just come is yet to be assigned."""
    if newcomers(place.ledger, place.baseline, place.group, {}):
        return False
    staying = [m for m in place.group.members if stays(m.lifecycle) and m.instance_id not in place.claim.machines]
    return len(staying) >= place.group.desired


def _strayed(place: Scene, old: str, new: str) -> Problem | None:
    """A master's volume is attached only in its own zone (EC2 user guide, "Amazon EBS volumes")."""
    was, now = _zone(place, old), place.snapshot.instances[new].zone
    if not quorum.guards(place.run.settings, place.claim.group, place.claim.strategy) or was in ("", now):
        return None
    return Problem(
        f"replacement {new} came up in {now}, but the etcd volumes of {old} are in {was}",
        (f"instance {new}", f"asg {place.group.name}"),
        final=True,
        remedy=f"Have the group launch in {was} (one group per zone, as kops makes them) and terminate {new}.",
    )


def _zone(place: Scene, machine: str) -> str:
    """Where a machine is or was; EC2 forgets terminated instances, the plan does not."""
    instance = place.snapshot.instances.get(machine)
    planned = (m.zone for b in place.run.plan.batches for m in b.machines if m.instance_id == machine)
    return instance.zone if instance else next(planned, "")
