"""IAM's inline policies, its simulator, and Service Quotas, as far as a check-up asks them.

What is denied is what the policies of a role deny, and what the fault book denies: an ``error`` with the code
AccessDenied on an action.
Sources: https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
"""

# Each method is one AWS operation; its documentation is AWS' own.
# ruff: noqa: D102
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.iam.responses import IamResponse
from moto.servicequotas.responses import ServiceQuotasResponse

from node_rotation.testing.scaling_values import AwsFault
from proving_ground.aws.physics import ActionResult, Physics
from proving_ground.aws.policies import EVERYTHING, Decision, Demand, PolicyError, parse

if TYPE_CHECKING:
    from proving_ground.aws.identities import Identity

_OWN_NAMES = {"elasticloadbalancing": "elbv2"}  # IAM's name of a service, and that of its API
VCPUS = 1920.0
_VCPU_QUOTAS = {"L-1216C47A": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"}


class RightsPhysics(Physics, IamResponse):  # type: ignore[misc]
    """Inline policies of roles, which hold whoever assumes one, and the simulator; the rest is moto's."""

    def put_role_policy(self) -> ActionResult:
        asked = self.asked()
        try:
            policy = parse(asked["PolicyDocument"])
        except PolicyError as error:
            said = f"The proving ground can't evaluate policy {asked['PolicyName']}: {error}"
            raise AwsFault("MalformedPolicyDocument", said) from error
        result = super().put_role_policy()
        self.world.identities.put(asked["RoleName"], asked["PolicyName"], policy)
        return result

    def delete_role_policy(self) -> ActionResult:
        asked = self.asked()
        self.world.identities.delete(asked["RoleName"], asked["PolicyName"])
        return super().delete_role_policy()

    def simulate_principal_policy(self) -> ActionResult:
        asked = self.asked()
        identity = self.world.identities.of_role(asked["PolicySourceArn"])
        context = {entry["ContextKeyName"]: entry["ContextKeyValues"][0] for entry in asked.get("ContextEntries") or ()}
        decisions = [
            self._decision(identity, Demand(action, resource, context))
            for action in asked["ActionNames"]
            for resource in asked.get("ResourceArns") or [EVERYTHING]
        ]
        return ActionResult({"EvaluationResults": decisions, "IsTruncated": False})

    def _decision(self, identity: Identity | None, demand: Demand) -> dict[str, Any]:
        service, _, operation = demand.action.partition(":")
        decision = identity.may(demand) if identity else Decision.ALLOWED
        if self.world.faults.denies(_OWN_NAMES.get(service, service), operation):
            decision = Decision.IMPLICIT_DENY
        return {
            "EvalActionName": demand.action,
            "EvalResourceName": demand.resource,
            "EvalDecision": decision.value,
        }


class QuotaPhysics(Physics, ServiceQuotasResponse):  # type: ignore[misc]
    """The vCPU quotas of EC2."""

    def get_service_quota(self) -> Any:
        asked = self.asked()
        code = asked["QuotaCode"]
        if asked["ServiceCode"] != "ec2" or code not in _VCPU_QUOTAS:
            raise AwsFault("NoSuchResourceException", "The request failed because the specified quota does not exist.")
        quota = {"ServiceCode": "ec2", "QuotaCode": code, "QuotaName": _VCPU_QUOTAS[code], "Value": VCPUS}
        return ActionResult({"Quota": quota})
