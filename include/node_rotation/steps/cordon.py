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
        """Cordon what is not cordoned yet, with a mark that it was us, then take it out of its target groups."""
        if over(run, batch):
            return
        place = acting(run, batch)
        if not place.claim.open:
            return
        ask_once(place)
        left = [node for node in place.old_nodes() if not node.unschedulable]
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
        left = tuple(f"node {n.name} is not cordoned yet" for n in place.old_nodes() if not n.unschedulable)
        if left:
            return Waiting(left, run.policy(batch).poll)
        registered = traffic.waits(place)
        if blocked := traffic.too_slow(place, registered):
            return blocked
        return Waiting(registered, run.policy(batch).poll) if registered else Done("the old machines take no new pods")

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """Five minutes for single calls, and the policy's ``deregister_timeout``."""
        return TIMEOUT_S + run.policy(batch).deregister_timeout


def cordon(run: Run, node: Node, by: str) -> None:
    """Mark, cordon, and exclude a node from load balancers; the mark comes first, so no crash hides it.

    :param by: the run that did it, written into the mark.
    """
    lock.require(run)
    try:
        run.cluster.annotate(node.name, node.uid, {names.CORDONED_BY: by, **kept_by(node, by)})
        run.cluster.cordon(node.name, node.uid)
        if names.EXCLUDE_BALANCERS not in node.labels:
            run.cluster.label(node.name, node.uid, {names.EXCLUDE_BALANCERS: OURS})
    except GoneError:  # its machine went away meanwhile: nothing is left to cordon
        pass
    run.look.forget()


def kept_by(node: Node, by: str) -> dict[str, str]:
    """What keeps the autoscaler off a machine, new and empty or about to be; nothing if somebody has done so.

    :param by: the run, so that only our own is taken away again.
    """
    if names.SCALE_DOWN_DISABLED in node.annotations:
        return {}
    return {names.SCALE_DOWN_DISABLED: "true", names.KEPT_BY: by}


def uncordon(run: Run, node: Node) -> bool:
    """Take back a cordon of ours, and the machine's exclusion; marks go last, so no crash leaves a thing without one.

    :returns: True if there was one.
    """
    ours = names.CORDONED_BY in node.annotations
    labelled = node.labels.get(names.EXCLUDE_BALANCERS) == OURS
    if not ours and not labelled and names.LEFT_TARGETS not in node.annotations:
        return False
    lock.require(run)
    try:
        traffic.rejoin(run, node)
        if labelled:
            run.cluster.label(node.name, node.uid, {names.EXCLUDE_BALANCERS: None})
        if ours:
            if node.unschedulable:
                run.cluster.uncordon(node.name, node.uid)
            kept = (names.SCALE_DOWN_DISABLED, names.KEPT_BY) if names.KEPT_BY in node.annotations else ()
            run.cluster.annotate(node.name, node.uid, {names.CORDONED_BY: None, **dict.fromkeys(kept)})
    except GoneError:
        pass
    run.look.forget()
    return True
