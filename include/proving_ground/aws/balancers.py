"""Elastic Load Balancing's target groups: health that takes time, and a deregistration that takes its delay.

moto keeps the records of load balancers, listeners and target groups; who is registered, and how each does, is ours.
Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/
"""

# Each method is one AWS operation; its documentation is AWS' own.
# ruff: noqa: D102
from __future__ import annotations

from typing import Any

from moto.elb.responses import ELBResponse
from moto.elbv2.responses import ELBV2Response

from node_rotation.testing.targets import REASONS, UNUSED, TargetGroup
from proving_ground.aws.physics import ActionResult, EmptyResult, Physics

_VERSION = "2015-12-01"
DELAY = "deregistration_delay.timeout_seconds"


def by_version(*args: Any, **kwargs: Any) -> Any:
    """Classic and newer load balancers share an address: a request's version says which it means."""
    newer = args[0].values.get("Version") == _VERSION
    return (TargetPhysics.dispatch if newer else ELBResponse.dispatch)(*args, **kwargs)


class TargetPhysics(Physics, ELBV2Response):  # type: ignore[misc]
    """Instead of moto's own, which registers and deregisters at once."""

    def create_target_group(self) -> ActionResult:
        result = super().create_target_group()
        answer: Any = result.result
        for record in answer["TargetGroups"]:
            self.world.targets.create(TargetGroup(record.arn, in_use=False, port=int(record.port or 80)))
        return result

    def delete_target_group(self) -> ActionResult:
        result = super().delete_target_group()
        self.world.targets.groups.pop(self.asked()["TargetGroupArn"], None)
        return result

    def modify_target_group_attributes(self) -> ActionResult:
        result = super().modify_target_group_attributes()
        asked = self.asked()
        for attribute in asked["Attributes"]:
            if attribute["Key"] == DELAY:
                self.world.targets.group(asked["TargetGroupArn"]).delay_s = float(attribute["Value"])
        return result

    def create_listener(self) -> ActionResult:
        return self._in_use(super().create_listener())

    def create_rule(self) -> ActionResult:
        return self._in_use(super().create_rule())

    def register_targets(self) -> ActionResult:
        asked = self.asked()
        for target in asked["Targets"]:
            self.world.targets.register(asked["TargetGroupArn"], [target["Id"]], target.get("Port"))
        return EmptyResult()

    def deregister_targets(self) -> ActionResult:
        asked = self.asked()
        for target in asked["Targets"]:
            self.world.targets.deregister(asked["TargetGroupArn"], [target["Id"]], target.get("Port"))
        return EmptyResult()

    def describe_target_health(self) -> ActionResult:
        asked = self.asked()
        shown = self.world.targets.health(asked["TargetGroupArn"])
        named = [target["Id"] for target in asked.get("Targets") or ()] or list(shown)
        group = self.world.targets.group(asked["TargetGroupArn"])
        described = [
            {
                "Target": {"Id": instance, "Port": group.ports.get(instance, group.port)},
                "HealthCheckPort": str(group.ports.get(instance, group.port)),
                "TargetHealth": _health(*shown.get(instance, (UNUSED, REASONS[UNUSED]))),
            }
            for instance in named
        ]
        return ActionResult({"TargetHealthDescriptions": described})

    def _in_use(self, result: ActionResult) -> ActionResult:
        """A target group is in use once a listener forwards to it."""
        for arn, record in self.elbv2_backend.target_groups.items():
            if record.load_balancer_arns and arn in self.world.targets.groups:
                self.world.targets.groups[arn].in_use = True
        return result


def _health(state: str, reason: str) -> dict[str, str]:
    return {"State": state, **({"Reason": reason} if reason else {})}
