"""Take old machines out of their group's target groups before they are drained, and put them back if they stay.

Auto Scaling registers what it launches and deregisters what it terminates, but that would be after the drain: pods
would leave a machine that still gets requests. Never the last healthy target, whoever else is leaving.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from node_rotation import lock, names
from node_rotation.control_plane import quorum
from node_rotation.errors import GoneError
from node_rotation.ledger import ClaimState, Ledger
from node_rotation.outcome import CLEAR_BATCH, Blocked
from node_rotation.run import Run
from node_rotation.scaling import targets
from node_rotation.scaling.targets import label, lacking, last_of, still_in, too_few
from node_rotation.steps.scene import Scene, span
from node_rotation.world.kubernetes import Node

_PORT = "@"
"""Between a target group's ARN and a port, on a Node."""


def leave(place: Scene) -> None:
    """Deregister the batch's old machines wherever they still get requests, unless nobody healthy would be left.

    That is decided on the ledger, by compare-and-swap, so two batches can't take out each other's last one.
    """
    if place.claim.state is not ClaimState.ADMITTED:
        return  # it is being healed: what left comes back
    nodes = {node.instance_id: node for node in place.old_nodes()}
    serving = {m: targets.serving(place.group, place.snapshot.targets, m) for m in nodes}
    if not any(serving.values()) or not may_leave(place):
        return
    for machine, node in nodes.items():
        mark(place.run, node, serving[machine])
    for arn in place.group.target_groups:
        if machines := {machine: found[arn] for machine, found in serving.items() if arn in found}:
            lock.require(place.run)
            with suppress(GoneError):  # somebody deleted the target group
                place.run.cloud.deregister_targets(arn, machines)
    place.run.look.forget()


def may_leave(place: Scene) -> bool:
    """Whether the batch's machines leave now, which is written down first; not while nobody healthy would be left."""
    ledger = place.ledger
    if place.claim.leaving_since is None:
        ledger = lock.change(place.run, lambda now: _leaving(place, now))
    claim = ledger.claim(place.claim.batch)
    return claim is not None and claim.leaving_since is not None and not last(place, ledger)


def rejoin(run: Run, node: Node) -> None:
    """Register a machine where we took it out; its mark goes last, so no crash leaves it out for good."""
    for entry in _left(node):
        arn, _, port = entry.partition(_PORT)
        lock.require(run)
        try:
            run.cloud.register_targets(arn, {node.instance_id: (int(port),) if port.isdigit() else ()})
        except GoneError:  # the target group is gone, or the machine goes: nothing to put back
            continue
    if names.LEFT_TARGETS in node.annotations:
        run.cluster.annotate(node.name, node.uid, {names.LEFT_TARGETS: None})


def mark(run: Run, node: Node, serving: Mapping[str, tuple[int, ...]]) -> None:
    """Write on a Node where its machine is about to be taken out, for whoever puts it back.

    :param serving: target groups (ARNs) → the ports that it is registered on there.
    """
    left = (entry for entry in _left(node) if not serving.get(entry))  # without a port: from an earlier version
    seen = (f"{arn}{_PORT}{port}" if port else arn for arn, ports in serving.items() for port in ports or (0,))
    wanted = ",".join(dict.fromkeys((*left, *seen)))
    if not serving or node.annotations.get(names.LEFT_TARGETS) == wanted:
        return
    lock.require(run)
    try:
        run.cluster.annotate(node.name, node.uid, {names.LEFT_TARGETS: wanted})
    except GoneError:  # its machine went away meanwhile
        return


def last(place: Scene, ledger: Ledger | None = None) -> tuple[str, ...]:
    """The target groups that keep the batch's machines because nobody else healthy would be left.

    With ``control_plane.allow_outage`` a master may be the last: that outage was accepted.
    """
    settings, claim = place.run.settings, place.claim
    if quorum.guards(settings, claim.group, claim.strategy) and settings.policy.control_plane.allow_outage:
        return ()
    others = _away(place, ledger or place.ledger)
    return last_of(place.group.target_groups, place.snapshot.targets, claim.machines, others)


def waits(place: Scene) -> tuple[str, ...]:
    """What the old machines have not left yet, one line each; nothing once no request can reach them."""
    kept, seen = last(place), place.snapshot.targets
    return tuple(line for n in place.old_nodes() for line in targets.waits(place.group, seen, n.instance_id, kept))


def too_slow(place: Scene, reasons: tuple[str, ...]) -> Blocked | None:
    """Given up on, once ``deregister_timeout`` is over.

    For machines that may not leave it begins once a launch would have been given up on.
    """
    policy, leaving = place.run.settings.groups[place.claim.group], place.claim.leaving_since
    since = leaving if leaving is not None else place.claim.since + policy.launch_timeout
    waited = place.waited(since)
    if not reasons or waited <= policy.deregister_timeout:
        return None
    remedy = f"Bring another machine of the target group to health, then {CLEAR_BATCH}"
    if leaving is not None:
        remedy = f"Shorten the target group's deregistration delay, or raise deregister_timeout; then {CLEAR_BATCH}"
    objects = tuple(f"instance {machine}" for machine in place.claim.machines)
    return Blocked(f"{reasons[0]}, for {span(waited)}", objects, remedy)


def keeps(place: Scene, machine: str) -> str:
    """Why a machine still gets requests, for whoever is about to terminate it; empty if it does not."""
    for arn, target in still_in(place.group, place.snapshot.targets, machine):
        return f"instance {machine} is still {target.state} in {label(arn)}"
    return ""


def irreplaceable(place: Scene, machine: str) -> bool:
    """Whether a replacement that is to be sent away is the last healthy one in a target group."""
    return bool(last_of(place.group.target_groups, place.snapshot.targets, [machine], _away(place, place.ledger)))


def unwell(place: Scene) -> tuple[str, ...]:
    """Where the batch's replacements don't serve as their predecessors did, and who is missed; for the gate."""
    seen, baseline = place.snapshot.targets, place.baseline
    found = [
        f"instance {new} is {target.state} in {label(arn)}{f' ({target.reason})' if target.reason else ''}"
        for new in place.claim.replacements.values()
        for arn, target in lacking(baseline.served, seen, new)
    ]
    others = [c for c in place.ledger.claims_of(place.claim.group) if c.open and c.batch != place.claim.batch]
    away = sum(len(c.machines) for c in others)
    for arn, now, before in too_few(baseline.served_partly, place.group, seen, away):
        found.append(f"{label(arn)} has {now} healthy machines of asg {place.group.name}, it had {before}")
    return tuple(found)


def _leaving(place: Scene, ledger: Ledger) -> Ledger:
    claim = ledger.claim(place.claim.batch)
    if claim is None or claim.state is not ClaimState.ADMITTED or last(place, ledger):
        return ledger
    return ledger.with_claim(claim.model_copy(update={"leaving_since": place.now}))


def _away(place: Scene, ledger: Ledger) -> set[str]:
    """Machines that other batches are taking out right now."""
    others = (c for c in ledger.claims if c.open and c.batch != place.claim.batch and c.leaving_since is not None)
    return {machine for claim in others for machine in claim.machines}


def _left(node: Node) -> tuple[str, ...]:
    return tuple(filter(None, node.annotations.get(names.LEFT_TARGETS, "").split(",")))
