"""Target groups as a plain state machine: registering, health, and a deregistration that takes its delay.

As Auto Scaling's, it knows neither boto3 nor a server and stands behind both worlds.

Sources: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html and
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html
(a deregistered target is shown as draining until its delay is over)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node_rotation.testing.scaling_values import AwsFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from node_rotation.testing.scaling_values import Clock, Compute

INITIAL, HEALTHY, UNHEALTHY, UNUSED, DRAINING = "initial", "healthy", "unhealthy", "unused", "draining"
REASONS = {
    INITIAL: "Elb.InitialHealthChecking",
    HEALTHY: "",
    UNHEALTHY: "Target.Timeout",
    UNUSED: "Target.NotRegistered",
    DRAINING: "Target.DeregistrationInProgress",
}
_RUNS = ("pending", "running")


@dataclass
class TargetGroup:
    """A target group: how long its targets take, and what each is; ``in_use`` once a load balancer has it.

    A machine is registered on one port at a time: the target group's, or one that whoever registered it named.
    """

    arn: str
    delay_s: float = 300.0
    healthy_s: float = 1.0
    in_use: bool = True
    port: int = 30080
    states: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)  # a change that comes too late finds another turn


class Targets:
    """The target groups of one account and region.

    :param answers: whether what runs on a machine answers health checks; asked again at each change.
    """

    def __init__(self, compute: Compute, clock: Clock, answers: Callable[[str], bool] = lambda instance: True) -> None:
        self._compute, self._clock, self._answers = compute, clock, answers
        self.groups: dict[str, TargetGroup] = {}
        self.sick: set[str] = set()
        self.on_change: list[Callable[[str, str], None]] = []
        """Called with target group and instance after each change."""

    def group(self, arn: str) -> TargetGroup:
        """:raises AwsFault: if there is no such target group."""
        if arn not in self.groups:
            raise AwsFault("TargetGroupNotFound", "One or more target groups not found")
        return self.groups[arn]

    def create(self, group: TargetGroup) -> None:
        """A target group, empty."""
        self.groups[group.arn] = group

    def register(self, arn: str, instances: Iterable[str], port: int | None = None) -> None:
        """RegisterTargets: known ones are left as they are, a draining one begins anew.

        :param port: None: the target group's own.
        :raises AwsFault: if there is no such target group, or a machine does not run.
        """
        group, named = self.group(arn), tuple(instances)
        for instance in named:
            if self._compute.state(instance) not in _RUNS:
                said = f"The following targets are not in a running state and cannot be registered: '{instance}'"
                raise AwsFault("InvalidTarget", said)
        for instance in named:
            if group.states.get(instance, DRAINING) == DRAINING:
                group.ports[instance] = port or group.port
                self._enter(group, instance, INITIAL)
                self._later(group, instance, group.healthy_s, lambda i: self.check(i))

    def deregister(self, arn: str, instances: Iterable[str], port: int | None = None) -> None:
        """DeregisterTargets: no new requests from now on, but shown as draining until the delay is over.

        "If the specified target does not exist, the action returns successfully": on another port it does not.

        :param port: None: the target group's own.
        """
        group = self.group(arn)
        for instance in instances:
            if group.ports.get(instance) == (port or group.port):
                self.withdraw(arn, instance)

    def withdraw(self, arn: str, instance: str) -> None:
        """The same, on whatever port it is."""
        group = self.group(arn)
        if group.states.get(instance, DRAINING) == DRAINING:
            return
        if not group.in_use:
            self._leave(group, instance)
            return
        self._enter(group, instance, DRAINING)
        self._later(group, instance, group.delay_s, lambda i: self._leave(group, i))

    def health(self, arn: str) -> dict[str, tuple[str, str]]:
        """State and reason of each target that is registered or draining."""
        group = self.group(arn)
        return {instance: self._shown(group, instance, state) for instance, state in group.states.items()}

    def healthy(self, arn: str) -> set[str]:
        """The machines that get traffic and answer it."""
        return {instance for instance, (state, _) in self.health(arn).items() if state == HEALTHY}

    def settled(self) -> bool:
        """Whether nobody is being checked for the first time, or draining."""
        return not any(s in (INITIAL, DRAINING) for group in self.groups.values() for s in group.states.values())

    def left(self, arns: Iterable[str], instance: str) -> bool:
        """Whether a machine is in none of these target groups, not even draining."""
        return all(instance not in self.groups[arn].states for arn in arns if arn in self.groups)

    def check(self, instance: str) -> None:
        """Look at a machine's health anew, wherever it is registered and its first checks are over."""
        well = instance not in self.sick and self._answers(instance) and self._compute.state(instance) in _RUNS
        for group in self.groups.values():
            state = group.states.get(instance)
            if state is not None and state != DRAINING and state != (wanted := HEALTHY if well else UNHEALTHY):
                self._enter(group, instance, wanted)

    def _shown(self, group: TargetGroup, instance: str, state: str) -> tuple[str, str]:
        if not group.in_use:
            return UNUSED, "Target.NotInUse"
        if self._compute.state(instance) not in _RUNS:
            return (DRAINING, REASONS[DRAINING]) if state == DRAINING else (UNUSED, "Target.InvalidState")
        return state, REASONS[state]

    def _enter(self, group: TargetGroup, instance: str, state: str) -> None:
        group.states[instance] = state
        group.turns[instance] = group.turns.get(instance, 0) + 1
        self._tell(group, instance)

    def _leave(self, group: TargetGroup, instance: str) -> None:
        group.states.pop(instance, None)
        self._tell(group, instance)

    def _later(self, group: TargetGroup, instance: str, delay_s: float, change: Callable[[str], None]) -> None:
        turn = group.turns[instance]

        def due() -> None:
            if group.turns.get(instance) == turn:
                change(instance)

        self._clock.after(delay_s, due)

    def _tell(self, group: TargetGroup, instance: str) -> None:
        for listener in self.on_change:
            listener(group.arn, instance)
