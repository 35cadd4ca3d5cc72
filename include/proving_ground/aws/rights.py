"""IAM's simulator and Service Quotas, as far as a check-up asks them.

What is denied is what the fault book denies: an ``error`` with the code AccessDenied on an action.
Sources: https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
"""

# Each method is one AWS operation; its documentation is AWS' own.
# ruff: noqa: D102
from __future__ import annotations

from typing import Any

from moto.iam.responses import IamResponse
from moto.servicequotas.responses import ServiceQuotasResponse

from node_rotation.testing.scaling_values import AwsFault
from proving_ground.aws.physics import ActionResult, Physics

_OWN_NAMES = {"elasticloadbalancing": "elbv2"}  # IAM's name of a service, and that of its API
VCPUS = 1920.0
_VCPU_QUOTAS = {"L-1216C47A": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"}


class RightsPhysics(Physics, IamResponse):  # type: ignore[misc]
    """The policy simulator; the rest is moto's."""

    def simulate_principal_policy(self) -> ActionResult:
        asked = self.asked()
        decisions = [self._decision(action) for action in asked["ActionNames"]]
        return ActionResult({"EvaluationResults": decisions, "IsTruncated": False})

    def _decision(self, action: str) -> dict[str, Any]:
        service, _, operation = action.partition(":")
        denied = self.world.faults.denies(_OWN_NAMES.get(service, service), operation)
        return {"EvalActionName": action, "EvalDecision": "implicitDeny" if denied else "allowed"}


class QuotaPhysics(Physics, ServiceQuotasResponse):  # type: ignore[misc]
    """The vCPU quotas of EC2."""

    def get_service_quota(self) -> Any:
        asked = self.asked()
        code = asked["QuotaCode"]
        if asked["ServiceCode"] != "ec2" or code not in _VCPU_QUOTAS:
            raise AwsFault("NoSuchResourceException", "The request failed because the specified quota does not exist.")
        quota = {"ServiceCode": "ec2", "QuotaCode": code, "QuotaName": _VCPU_QUOTAS[code], "Value": VCPUS}
        return ActionResult({"Quota": quota})
