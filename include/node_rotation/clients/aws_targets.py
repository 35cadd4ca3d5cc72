"""Target groups of load balancers: who gets traffic, and who is taken out of it.

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_errors import translated
from node_rotation.errors import GoneError
from node_rotation.world.aws import Registrations, Target, Targets

_SERVICE = "elasticloadbalancing"
_BEST_FIRST = ("unused", "healthy")


class TargetGroups:
    """What Elastic Load Balancing is asked and told; one call per target group."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def targets(self, target_groups: Sequence[str]) -> Mapping[str, Targets]:
        """Who is in these target groups (ARNs), and how each does; one that does not exist is left out."""
        found: dict[str, Targets] = {}
        for arn in dict.fromkeys(target_groups):
            try:
                with translated(_SERVICE, "DescribeTargetHealth", arn):
                    answer = self._calls.elasticloadbalancing.describe_target_health(TargetGroupArn=arn)
            except GoneError:
                continue
            found[arn] = _targets(answer["TargetHealthDescriptions"])
        return found

    def deregister_targets(self, target_group: str, machines: Registrations) -> None:
        """DeregisterTargets; who is not registered may be named, and who is draining goes on draining."""
        with translated(_SERVICE, "DeregisterTargets", f"{', '.join(machines)} in {target_group}"):
            self._calls.elasticloadbalancing.deregister_targets(
                TargetGroupArn=target_group, Targets=_addressed(machines)
            )

    def register_targets(self, target_group: str, machines: Registrations) -> None:
        """RegisterTargets; who is registered may be named.

        :raises GoneError: if there is no such target group or machine.
        """
        with translated(_SERVICE, "RegisterTargets", f"{', '.join(machines)} in {target_group}"):
            self._calls.elasticloadbalancing.register_targets(TargetGroupArn=target_group, Targets=_addressed(machines))


def _addressed(machines: Registrations) -> list[dict[str, Any]]:
    """Machines in a request. Who was registered on a port of its own is not found without it, and nothing says so.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html
    """
    named = ((i, port) for i, ports in machines.items() for port in ports or (None,))
    return [{"Id": i} if port is None else {"Id": i, "Port": port} for i, port in named]


def _targets(answers: Sequence[Any]) -> Targets:
    """By instance id; one that is registered with several ports is as well as its worst."""
    found: dict[str, Target] = {}
    for answer in answers:
        health, address = answer["TargetHealth"], answer["Target"]
        target = Target(health["State"], health.get("Reason", ""), (address["Port"],) if "Port" in address else ())
        known = found.get(address["Id"], target)
        worst = max(known, target, key=_badness)
        found[address["Id"]] = replace(worst, ports=tuple(dict.fromkeys((*known.ports, *target.ports))))
    return found


def _badness(target: Target) -> int:
    return _BEST_FIRST.index(target.state) if target.state in _BEST_FIRST else len(_BEST_FIRST)
