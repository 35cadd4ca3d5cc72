"""Scaling activities and the words AWS puts into them.

Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-verify-scaling-activity.html
and the examples of the Auto Scaling API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

CAPACITY = (
    "We currently do not have sufficient {type} capacity in the Availability Zone you requested ({zone}). "
    "Our system will be working on provisioning additional capacity. You can currently get {type} capacity "
    "by not specifying an Availability Zone in your request or choosing {others}."
)
LAUNCH_FAILED = " Launching EC2 instance failed."
PROTECTED = "Could not scale to desired capacity because all remaining instances are protected from scale-in."


class Status(StrEnum):
    """Where an activity stands."""

    IN_PROGRESS = "InProgress"
    DRAINING = "WaitingForELBConnectionDraining"
    MID_LIFECYCLE = "MidLifecycleAction"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclass
class Activity:
    """One entry of DescribeScalingActivities."""

    activity_id: str
    group: str
    description: str
    cause: str
    started_at: float
    status: Status = Status.IN_PROGRESS
    message: str | None = None
    ended_at: float | None = None
    zone: str | None = None

    @property
    def progress(self) -> int:
        """Percent, as AWS shows it: 100 for everything that has ended."""
        return 50 if self.ended_at is None else 100

    def finish(self, at: float, status: Status = Status.SUCCESSFUL, message: str | None = None) -> None:
        """End it, once."""
        if self.ended_at is None:
            self.ended_at, self.status, self.message = at, status, message or self.message


def stamp(at: float) -> str:
    """A time as causes contain it.

    :param at: epoch seconds.
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def grow(at: float, have: int, want: int) -> str:
    """Why an instance was started."""
    return (
        f"At {stamp(at)} an instance was started in response to a difference between desired and actual "
        f"capacity, increasing the capacity from {have} to {want}."
    )


def rebalance(at: float, rich: str) -> str:
    """Why an instance was started although the group had enough."""
    return (
        f"At {stamp(at)} instances were launched to balance instances in zones {rich} with other zones "
        "resulting in more than desired number of instances in the group."
    )


def refreshed(at: float) -> str:
    """Why an instance refresh terminated an instance."""
    return f"At {stamp(at)} an instance was taken out of service in response to an instance refresh."


def by_update(at: float, sizes: tuple[int, int, int], before: int) -> str:
    """How UpdateAutoScalingGroup changed the desired size.

    :param sizes: minimum, maximum and desired as they are now.
    """
    minimum, maximum, desired = sizes
    return (
        f"At {stamp(at)} a user request update of AutoScalingGroup constraints to min: {minimum}, max: {maximum}, "
        f"desired: {desired} changing the desired capacity from {before} to {desired}."
    )


def by_set(at: float, before: int, after: int) -> str:
    """How SetDesiredCapacity changed it."""
    return (
        f"At {stamp(at)} a user request explicitly set group desired capacity changing the desired capacity "
        f"from {before} to {after}."
    )


def shrink(at: float, have: int, want: int, instance_id: str) -> str:
    """Why a surplus instance was terminated."""
    return (
        f"At {stamp(at)} an instance was taken out of service in response to a difference between desired "
        f"and actual capacity, shrinking the capacity from {have} to {want}.  "
        f"At {stamp(at)} instance {instance_id} was selected for termination."
    )


def abandoned(at: float, instance_id: str) -> str:
    """Why an instance that a launching hook gave up was terminated."""
    return f"At {stamp(at)} instance {instance_id} was taken out of service: its lifecycle action was abandoned."


def unhealthy(at: float, *, by_user: bool, by_balancer: bool = False) -> str:
    """Why an unhealthy instance was terminated."""
    if by_balancer:
        return f"At {stamp(at)} an instance was taken out of service in response to an ELB system health check failure."
    if by_user:
        return f"At {stamp(at)} an instance was taken out of service in response to a user health-check."
    return (
        f"At {stamp(at)} an instance was taken out of service in response to an EC2 health check indicating "
        "it has been terminated or stopped."
    )


def by_request(at: float, instance_id: str, verb: str, before: int, after: int) -> str:
    """Why an instance was attached, detached or taken out of service by a caller."""
    said = f"At {stamp(at)} instance {instance_id} was {verb} in response to a user request"
    if after < before:
        return f"{said}, shrinking the capacity from {before} to {after}."
    if after > before:
        return f"{said}, increasing the capacity from {before} to {after}."
    return f"{said}."


def capacity_text(instance_type: str, zone: str, others: tuple[str, ...]) -> str:
    """EC2's InsufficientInstanceCapacity, word for word."""
    return CAPACITY.format(type=instance_type, zone=zone, others=", ".join(others) or "another zone")
