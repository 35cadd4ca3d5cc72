"""What holds EKS' update of a node group up, and what made it fail: pods, budgets, machines, EKS' own codes."""

from __future__ import annotations

from collections.abc import Sequence

from node_rotation.eviction import covering, structural
from node_rotation.managed.nodegroup import EVICTION_S, ManagedGroup, Trouble, remedy, said
from node_rotation.outcome import CLEAR_BATCH, Blocked
from node_rotation.steps.scene import Scene, busy_pods, gone, span
from node_rotation.steps.taken import Taken, counted
from node_rotation.world.kubernetes import Budget, Pod

NEW_NODES = ("NodeCreationFailure", "Unknown")
"""EKS' codes behind which an image may be that makes no node."""


def taken(place: Scene) -> Taken:
    """The workloads that have pods on the old machines."""
    return counted(_busy(place), place.snapshot.workloads)


def pods_left(place: Scene) -> tuple[str, ...]:
    """Who keeps the old machines: one reason per budget that allows nothing now, one for all other pods."""
    pods = _busy(place)
    held: dict[str, list[Pod]] = {}
    for pod in pods:
        for budget in _tight(place, pod):
            held.setdefault(budget.key, []).append(pod)
    limit = f"EKS gives up {span(EVICTION_S)} after it began with a machine"
    reasons = [f"pdb {key} allows no disruption now ({_named(found)}); {limit}" for key, found in held.items()]
    stuck = [b.reason for pod in pods if (b := structural(pod, place.snapshot.budgets)) is not None]
    free = [pod for pod in pods if not _tight(place, pod)]
    rest = (f"EKS moves {_named(free)}",) if free else ()
    return (*dict.fromkeys(stuck), *reasons, *rest)


def broken(place: Scene, group: ManagedGroup) -> Blocked | None:
    """Why EKS gave our update up, in its codes, with what is to be done; None as long as it has not."""
    if place.claim.update in group.unknown:
        return _forgotten(place, group)
    update = group.update(place.claim.update) if place.claim.update else None
    if update is None or not update.failed:
        return None
    troubles = (*update.errors, *(issue for issue in group.issues if issue not in update.errors))
    why = "; ".join(said(trouble) for trouble in troubles) or "EKS names no error"
    return Blocked(
        f"EKS {update.status.lower()} update {update.id} of node group {group.label}: {why}",
        (f"node group {group.label}", f"update {update.id}", *_objects(place, troubles)),
        remedy(troubles),
        image_fault=_image_at_fault(place, troubles),
    )


def _forgotten(place: Scene, group: ManagedGroup) -> Blocked | None:
    """EKS does not know our update any more: where the old machines are gone, the gate judges the new ones."""
    left = [m for m in place.claim.machines if not gone(place.snapshot.instances.get(m))]
    if not left:
        return None
    return Blocked(
        f"EKS does not know update {place.claim.update} of node group {group.label} (any more), and instance {left[0]} "
        "still runs",
        (f"node group {group.label}", *(f"instance {machine}" for machine in left)),
        f"See in EKS what became of the node group, then {CLEAR_BATCH}",
    )


def _objects(place: Scene, troubles: Sequence[Trouble]) -> tuple[str, ...]:
    """EKS' resources; for an eviction that failed also the pods and budgets behind it."""
    named = [r for trouble in troubles for r in trouble.resources]
    if any(trouble.code == "PodEvictionFailure" for trouble in troubles):
        held = [(pod, budget) for pod in _busy(place) for budget in _tight(place, pod)]
        named += [f"pod {pod.key}" for pod, _ in held] + [f"pdb {budget.key}" for _, budget in held]
    return tuple(dict.fromkeys(named))


def _image_at_fault(place: Scene, troubles: Sequence[Trouble]) -> bool:
    """New machines run on the target and are no use: no capacity or quota lets none run at all."""
    if not any(trouble.code in NEW_NODES for trouble in troubles):
        return False
    target = place.run.plan.group(place.claim.group).target.image.id
    for member in place.group.members:
        instance = place.snapshot.instances.get(member.instance_id)
        if instance is None or gone(instance) or instance.image_id != target or instance.state != "running":
            continue
        node = place.snapshot.node_of(member.instance_id)
        if node is None or not node.ready:
            return True
    return False


def _busy(place: Scene) -> list[Pod]:
    return [pod for node in place.old_nodes() for pod in busy_pods(place.snapshot, node)]


def _tight(place: Scene, pod: Pod) -> list[Budget]:
    if pod.terminating_since is not None:
        return []
    return [b for b in covering(pod, place.snapshot.budgets) if b.disruptions_allowed < 1]


def _named(pods: Sequence[Pod]) -> str:
    first = f"pod {pods[0].key} on {pods[0].node}"
    return f"{first} and {len(pods) - 1} more" if len(pods) > 1 else first
