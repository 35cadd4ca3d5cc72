"""Ctrl-C while something is under way: what was done, to what, and how to go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from node_rotation import names
from node_rotation.configuration.durations import written
from node_rotation.engine import RotationInterruptedError
from node_rotation.errors import BlockedError, RotationError
from node_rotation.lock import dead_after_s
from node_rotation.machine import Machine
from node_rotation.outcome import Blocked
from node_rotation.run import Run
from node_rotation.steps.scene import busy_pods, gone, stays
from node_rotation.sweep import SweepInterruptedError
from node_rotation.world.kubernetes import Node
from node_rotation.world.snapshot import Snapshot

AGAIN = "Run the same command again: it goes on from there."


class MidwayError(BlockedError):
    """Somebody pressed Ctrl-C after something was changed, or may have been."""


@contextmanager
def rotating(run: Run) -> Iterator[None]:
    """A rotation that is not to give everything back, or a dead run's remains, to the end.

    :raises MidwayError: then.
    """
    cluster, lock_duration_s = run.settings.name, run.settings.policy.lock_duration
    try:
        yield
    except RotationInterruptedError as error:
        raise _giving_back(cluster, run.id, lock_duration_s) from error
    except SweepInterruptedError as error:
        raise sweep(cluster, error.did, lock_duration_s) from error


def _giving_back(cluster: str, run: str, lock_duration_s: float) -> MidwayError:
    left = "its lock, sizes, suspended processes, cordons, taints and a closed intake may be left"
    why = f"the rotation was interrupted while it gave everything back: {left}"
    remedy = f"Once its lock was silent for {_silent(lock_duration_s)}, node-rotation sweep {cluster} puts that back, "
    remedy += f"and so does the hourly sweep; node-rotation rotate {cluster} does so and goes on."
    return MidwayError(Blocked(why, (f"cluster {cluster}", f"run {run}"), remedy))


def _silent(lock_duration_s: float) -> str:
    return written(dead_after_s(lock_duration_s))


def drain(run: Run, machine: Machine, *, detached: bool, for_good: bool) -> MidwayError:
    """One machine, as it is left.

    :param detached: it was taken out of its group.
    :param for_good: it was to be terminated.
    """
    objects = (*((f"node {machine.node}",) if machine.node else ()), f"instance {machine.instance_id}")
    try:
        run.look.forget()
        snapshot = run.look()
    except RotationError as error:
        return MidwayError(Blocked(f"interrupted, and what was done can't be seen: {error}", objects, AGAIN))
    left = tuple(_left(machine, snapshot, detached))
    if not left:
        nothing = f"interrupted: node {machine.node} and its machine are as before" if machine.node else "interrupted"
        return MidwayError(Blocked(nothing, objects, "Run the same command again."))
    remedy = " ".join((AGAIN, *_back(run, machine, snapshot, detached, for_good)))
    return MidwayError(Blocked(f"interrupted: {'; '.join(left)}", objects, remedy))


def _left(machine: Machine, snapshot: Snapshot, detached: bool) -> Iterator[str]:
    node = snapshot.node_of(machine.instance_id)
    if _is_out(machine, snapshot, detached):
        yield f"instance {machine.instance_id} is out of group {machine.asg}"
    if node is not None and node.unschedulable:
        pods = len(busy_pods(snapshot, node))
        yield f"node {node.name} is cordoned, {f'{pods} pods are on it' if pods else 'and drained'}"
    if _serves_nobody(node):
        yield f"instance {machine.instance_id} is out of its target groups"
    if gone(snapshot.instances.get(machine.instance_id)):
        yield f"instance {machine.instance_id} is being terminated"


def _is_out(machine: Machine, snapshot: Snapshot, detached: bool) -> bool:
    group = snapshot.groups.get(machine.asg or "")
    member = group.member(machine.instance_id) if group else None
    return machine.asg is not None and (detached or member is None or not stays(member.lifecycle))


def _serves_nobody(node: Node | None) -> bool:
    return node is not None and names.LEFT_TARGETS in node.annotations


def _back(run: Run, machine: Machine, snapshot: Snapshot, detached: bool, for_good: bool) -> Iterator[str]:
    """How to have it as it was."""
    if gone(snapshot.instances.get(machine.instance_id)):
        return
    node = snapshot.node_of(machine.instance_id)
    sweeping = f"node-rotation sweep {run.settings.name}"
    if node is not None and node.unschedulable:
        first, then = ("get requests and ", f"{sweeping}, then ") if _serves_nobody(node) else ("", "")
        yield f"Or have it {first}take pods again: {then}kubectl uncordon {node.name}."
    elif _serves_nobody(node):
        yield f"Or have it get requests again: {sweeping}."
    if _is_out(machine, snapshot, detached) and for_good:
        yield f"Or {sweeping}: its group takes it back or it is terminated."
    elif _is_out(machine, snapshot, detached):
        place = f"--auto-scaling-group-name {machine.asg} --instance-ids {machine.instance_id}"
        yield f"Or put it back, which makes its group one larger: aws autoscaling attach-instances {place}."


def sweep(cluster: str, did: Sequence[str], lock_duration_s: float) -> MidwayError:
    """A sweep of one cluster, after others perhaps.

    :param cluster: the one it was at.
    :param did: what it did, there and elsewhere; not what it was at when it was interrupted.
    :param lock_duration_s: of that cluster: so long, and a quarter, nobody else takes what the sweep may hold.
    """
    done = f": {'; '.join(did)}" if did else ""
    remedy = f"Go on with: node-rotation sweep {cluster}. The lock that it may have left there is another's to take "
    remedy += f"once it was silent for {_silent(lock_duration_s)}; the hourly sweep does so too."
    return MidwayError(Blocked(f"the sweep was interrupted at {cluster}{done}", (f"cluster {cluster}",), remedy))
