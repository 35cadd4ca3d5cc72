"""Who is held to a policy: whoever has assumed a role that was given one. Everybody else may do everything.

Wordings: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html; codes: each service's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from node_rotation.testing.scaling_values import AwsFault
from proving_ground.aws import demands
from proving_ground.aws.policies import EVERYTHING, Decision, Demand, Policy, decide

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from proving_ground.aws.world import AwsWorld

_CODES = {
    "ec2": ("UnauthorizedOperation", 403),
    "eks": ("AccessDeniedException", 403),
    "service-quotas": ("AccessDeniedException", 400),
    "ssm": ("AccessDeniedException", 400),
}
_OTHERS = ("AccessDenied", 403)
# AWS appends the request, encoded; nothing of it can be read.
_ENCODED = " Encoded authorization failure message: " + "not-a-real-one-" * 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Whoever signed a request.

    :param arn: as GetCallerIdentity tells it.
    """

    arn: str
    policies: tuple[Policy, ...]

    def may(self, demand: Demand) -> Decision:
        """What its policies say."""
        return decide(self.policies, demand)


class Identities:
    """The roles of an account that have inline policies, and the keys of who assumed them."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._policies: dict[str, dict[str, Policy]] = {}
        self._assumed: dict[str, tuple[str, str]] = {}

    def put(self, role: str, name: str, policy: Policy) -> None:
        """Give a role an inline policy, or another one under the same name."""
        self._policies.setdefault(f"arn:aws:iam::{self._account}:role/{role}", {})[name] = policy

    def delete(self, role: str, name: str) -> None:
        """Take a policy back; a role without any may do everything."""
        self._policies.get(f"arn:aws:iam::{self._account}:role/{role}", {}).pop(name, None)

    def assumed(self, access_key: str, arn: str, role: str) -> None:
        """Somebody got a key that stands for a role."""
        self._assumed[access_key] = (arn, role)

    def of_role(self, role: str) -> Identity | None:
        """Who a role's ARN stands for; None if it may do everything."""
        policies = tuple(self._policies.get(role, {}).values())
        return Identity(role, policies) if policies else None

    def of_key(self, access_key: str) -> Identity | None:
        """Who signs with a key; None if whoever does may do everything."""
        arn, role = self._assumed.get(access_key, ("", ""))
        found = self.of_role(role)
        return Identity(arn, found.policies) if found else None


def refusal(
    world: AwsWorld, access_key: str, service: str, operation: str, asked: Mapping[str, Any]
) -> AwsFault | None:
    """What AWS answers if whoever signed a call may not make it; None if it may.

    :raises LookupError: a policy allows the action, and which resources it is about is not known here.
    """
    identity = world.identities.of_key(access_key)
    if identity is None:
        return None
    action = f"{demands.PREFIXES.get(service, service)}:{operation}"
    wanted = demands.of_call(world, service, operation, asked)
    if wanted is None:
        if any(policy.names(action) for policy in identity.policies):
            raise LookupError(f"a policy allows {action}, whose resources aws/demands.py does not know")
        wanted = (Demand(action),)
    for demand in wanted:
        if (decision := identity.may(demand)) is not Decision.ALLOWED:
            return _denied(service, identity, demand, decision)
    return _template_denied(identity, demands.of_templates(world, service, asked))


def _template_denied(identity: Identity, wanted: Mapping[str, tuple[Demand, ...]]) -> AwsFault | None:
    """Auto Scaling names the template, and not what is missing to launch from it."""
    for template, some in wanted.items():
        if any(identity.may(demand) is not Decision.ALLOWED for demand in some):
            code, status = _OTHERS
            return AwsFault(code, f"You are not authorized to use launch template: {template}", status)
    return None


def _denied(service: str, identity: Identity, demand: Demand, decision: Decision) -> AwsFault:
    on = "" if demand.resource == EVERYTHING else f" on resource: {demand.resource}"
    why = f"because no identity-based policy allows the {demand.action} action"
    if decision is Decision.EXPLICIT_DENY:
        why = "with an explicit deny in an identity-based policy"
    said = f"User: {identity.arn} is not authorized to perform: {demand.action}{on} {why}"
    code, status = _CODES.get(service, _OTHERS)
    if service == "ec2":
        said = f"You are not authorized to perform this operation. {said}." + (_ENCODED if on else "")
    return AwsFault(code, said, status)
