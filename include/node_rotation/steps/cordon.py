"""Cordon: nothing new is scheduled onto the old machines, and load balancers leave them."""

from __future__ import annotations

from dataclasses import dataclass

from node_rotation import lock, names
from node_rotation.errors import GoneError
from node_rotation.model import Batch, StepName
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.steps import traffic
from node_rotation.steps.protection import ask_once
from node_rotation.steps.scene import acting, over, scene, taken_back
from node_rotation.world.kubernetes import Node

TIMEOUT_S = 300.0
OURS = "node-rotation"  # value of the label, so that only our own is taken away again


@dataclass(frozen=True, slots=True)
class Cordon:
    """Done once every old machine that still has a Node is unschedulable and in no target group any more."""

    name: StepName = StepName.CORDON

    def act(self, run: Run, batch: Batch) -> None:
        """Cordon what is not cordoned yet, whoever began that, then take it out of its target groups."""
        if over(run, batch):
            return
        place = acting(run, batch)
        if not place.claim.open:
            return
        ask_once(place)
        left = [node for node in place.old_nodes() if lacking(node)]
        for node in left:
            cordon(run, node, place.ledger.run)
        if not left:
            traffic.leave(place)

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done, or the nodes that still take pods and requests; Blocked once ``deregister_timeout`` has passed."""
        if over(run, batch):
            return Done("the old machines are gone")
        place = scene(run, batch)
        if isinstance(place, Blocked):
            return place
        if back := taken_back(place):
            return back
        left = tuple(f"node {n.name} is not yet {why}" for n in place.old_nodes() if (why := lacking(n)))
        if left:
            return Waiting(left, run.policy(batch).poll)
        registered = traffic.waits(place)
        if blocked := traffic.too_slow(place, registered):
            return blocked
        return Waiting(registered, run.policy(batch).poll) if registered else Done("the old machines take no new pods")

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """Five minutes for single calls, and the policy's ``deregister_timeout``."""
        return TIMEOUT_S + run.policy(batch).deregister_timeout


def lacking(node: Node) -> str:
    """What a node that is to go still lacks; each by itself, for a call may have failed, or somebody cordoned it."""
    if not node.unschedulable:
        return "cordoned"
    if names.EXCLUDE_BALANCERS not in node.labels:
        return "excluded from external load balancers"
    return "" if names.SCALE_DOWN_DISABLED in node.annotations else "kept from the autoscaler"


def cordon(run: Run, node: Node, by: str) -> None:
    """Mark, cordon, and exclude a node from load balancers; the mark comes first, so no crash hides it.

    Only what it lacks: a cordon of somebody else's gets no mark of ours, and stays.

    :param by: the run that did it, written into the mark.
    """
    lock.require(run)
    ours = {} if node.unschedulable else {names.CORDONED_BY: by, **_of_earlier(node)}
    try:
        if marks := {**ours, **kept_by(node, by)}:
            run.cluster.annotate(node.name, node.uid, marks)
        if not node.unschedulable:
            run.cluster.cordon(node.name, node.uid)
        if names.EXCLUDE_BALANCERS not in node.labels:
            run.cluster.label(node.name, node.uid, {names.EXCLUDE_BALANCERS: OURS})
    except GoneError:  # its machine went away meanwhile: nothing is left to cordon
        pass
    run.look.forget()


def _of_earlier(node: Node) -> dict[str, None]:
    """What an earlier drain of a node left that takes pods again: they came to it, not back."""
    return {names.DRAINED_SINCE: None} if names.DRAINED_SINCE in node.annotations else {}


def kept_by(node: Node, by: str) -> dict[str, str]:
    """What keeps the autoscaler off a machine, new and empty or about to be; nothing if somebody has done so.

    :param by: the run, so that only our own is taken away again.
    """
    if names.SCALE_DOWN_DISABLED in node.annotations:
        return {}
    return {names.SCALE_DOWN_DISABLED: "true", names.KEPT_BY: by}


def uncordon(run: Run, node: Node) -> bool:
    """Take back a cordon of ours, and what else is ours; marks go last, so no crash leaves a thing without one.

    :returns: True if there was one.
    """
    marks = _marks(node)
    labelled = node.labels.get(names.EXCLUDE_BALANCERS) == OURS
    if not marks and not labelled and names.LEFT_TARGETS not in node.annotations:
        return False
    lock.require(run)
    try:
        traffic.rejoin(run, node)
        if labelled:
            run.cluster.label(node.name, node.uid, {names.EXCLUDE_BALANCERS: None})
        if names.CORDONED_BY in marks and node.unschedulable:
            run.cluster.uncordon(node.name, node.uid)
        if marks:
            run.cluster.annotate(node.name, node.uid, dict.fromkeys(marks))
    except GoneError:
        pass
    run.look.forget()
    return True


def of_others(node: Node) -> bool:
    """Whether somebody else has cordoned a node: it stays so."""
    return node.unschedulable and names.CORDONED_BY not in node.annotations


def _marks(node: Node) -> tuple[str, ...]:
    """The annotations of a cordon and a drain of ours, and what keeps the autoscaler off if that is ours as well."""
    own = tuple(key for key in (names.CORDONED_BY, names.DRAINED_SINCE) if key in node.annotations)
    return (*own, names.SCALE_DOWN_DISABLED, names.KEPT_BY) if names.KEPT_BY in node.annotations else own
