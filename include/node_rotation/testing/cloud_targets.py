"""The target groups' part of the ``Cloud`` protocol, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from node_rotation.errors import GoneError
from node_rotation.testing.faults import Journal
from node_rotation.testing.scaling_values import AwsFault
from node_rotation.testing.targets import Targets
from node_rotation.world.aws import Registrations, Target
from node_rotation.world.aws import Targets as Shown

SERVICE = "elasticloadbalancing"


class MemoryTargets:
    """What Elastic Load Balancing is asked and told; every call goes through the journal."""

    def __init__(self, targets: Targets, journal: Journal) -> None:
        self._targets, self._calls = targets, journal

    def targets(self, target_groups: Sequence[str]) -> Mapping[str, Shown]:
        """Who is in these target groups; one that does not exist is left out."""
        found = {}
        for arn in target_groups:
            self._calls.read(SERVICE, "DescribeTargetHealth")
            if arn in self._targets.groups:
                ports = self._targets.group(arn).ports
                found[arn] = {i: Target(*shown, (ports[i],)) for i, shown in self._targets.health(arn).items()}
        return found

    def deregister_targets(self, target_group: str, machines: Registrations) -> None:
        """DeregisterTargets."""
        named = {"target_group": target_group, "instance_ids": tuple(machines)}
        try:
            with self._calls.mutation(SERVICE, "DeregisterTargets", **named):
                for machine, port in _one_by_one(machines):
                    self._targets.deregister(target_group, [machine], port)
        except AwsFault as fault:
            raise GoneError(f"{target_group}: {fault}") from fault

    def register_targets(self, target_group: str, machines: Registrations) -> None:
        """RegisterTargets."""
        named = {"target_group": target_group, "instance_ids": tuple(machines)}
        try:
            with self._calls.mutation(SERVICE, "RegisterTargets", **named):
                for machine, port in _one_by_one(machines):
                    self._targets.register(target_group, [machine], port)
        except AwsFault as fault:
            raise GoneError(f"{target_group}: {fault}") from fault


def _one_by_one(machines: Registrations) -> Iterator[tuple[str, int | None]]:
    return ((machine, port) for machine, ports in machines.items() for port in ports or (None,))
