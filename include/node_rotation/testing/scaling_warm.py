"""Warm pools: stopped machines beside a group, out of which it grows first.

Sources: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-warm-pools.html,
https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutWarmPool.html. Of the pool's states only Stopped; no
reuse on scale-in. A machine keeps the image that it was warmed with, and becomes a node when it leaves the pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from node_rotation.testing.scaling_values import AwsFault, Group, Launch, LaunchFailed, Lifecycle, Member

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from node_rotation.testing.scaling_values import Blueprint, Clock, Compute, Place

_GONE = ("shutting-down", "terminated")


def put(group: Group, asked: Mapping[str, Any]) -> None:
    """PutWarmPool; what is not said is as by default."""
    config = {"MinSize": 0, "PoolState": "Stopped", **asked}
    if config["PoolState"] != "Stopped" or config.get("InstanceReusePolicy"):
        raise AwsFault("ValidationError", "Of warm pools the proving ground knows PoolState Stopped only, no reuse.")
    group.warm_pool = config


def delete(compute: Compute, group: Group, *, force: bool) -> None:
    """DeleteWarmPool; with machines in it only by force."""
    if group.pool and not force:
        raise AwsFault("ResourceInUse", "You cannot delete a warm pool while there are instances in it.")
    group.warm_pool = None
    for member in group.pool.values():
        _end(compute, group, member)


def refill(compute: Compute, clock: Clock, group: Group, place: Place, blueprint: Callable[[], Blueprint]) -> None:
    """Bring the pool to its size: what the group's maximum, or the prepared capacity, leaves above desired."""
    for member in list(group.pool.values()):
        if compute.state(member.instance_id) in _GONE and member.lifecycle is not Lifecycle.WARMED_TERMINATING:
            _end(compute, group, member)
    if group.warm_pool is None:
        return
    warm = [m for m in group.pool.values() if m.lifecycle is not Lifecycle.WARMED_TERMINATING]
    for member in warm[_size(group) :]:
        _end(compute, group, member)
    for _ in range(_size(group) - len(warm)):
        try:
            _warm(compute, clock, group, place, blueprint())
        except (LaunchFailed, LookupError):
            return


def take(compute: Compute, group: Group) -> Member | None:
    """A warm machine on its way into the group; None if there is none."""
    for member in group.pool.values():
        if member.lifecycle is Lifecycle.WARMED_STOPPED and compute.state(member.instance_id) == "stopped":
            del group.pool[member.instance_id]
            member.lifecycle = Lifecycle.PENDING
            group.members[member.instance_id] = member
            compute.start(member.instance_id)
            return member
    return None


def _size(group: Group) -> int:
    config = group.warm_pool or {}
    prepared = config.get("MaxGroupPreparedCapacity", -1)
    top = group.max_size if prepared == -1 else prepared
    return max(int(config.get("MinSize", 0)), int(top) - group.desired, 0)


def _warm(compute: Compute, clock: Clock, group: Group, place: Place, blueprint: Blueprint) -> None:
    tags = {tag.key: tag.value for tag in group.tags.values() if tag.propagate}
    instance_id = compute.launch(Launch(group.name, blueprint, place, tags, warm=True))
    member = Member(instance_id, blueprint, place.zone, clock.now(), lifecycle=Lifecycle.WARMED_PENDING)
    group.pool[instance_id] = member

    def warmed() -> None:
        if member.lifecycle is Lifecycle.WARMED_PENDING:
            member.lifecycle = Lifecycle.WARMED_STOPPED

    compute.on_running(instance_id, warmed)


def _end(compute: Compute, group: Group, member: Member) -> None:
    if member.lifecycle is not Lifecycle.WARMED_TERMINATING:
        member.lifecycle = Lifecycle.WARMED_TERMINATING
        compute.terminate(member.instance_id, lambda: _forget(group, member))


def _forget(group: Group, member: Member) -> None:
    group.pool.pop(member.instance_id, None)
