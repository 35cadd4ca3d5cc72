"""IAM identity policies, evaluated: an explicit deny, else an allow, else it is denied. Pure; knows no AWS object.

What a policy can't say here is refused when it is read, as a statement that is passed over would allow or deny unseen.
Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html,
reference_policies_elements_resource.html and reference_policies_elements_condition_operators.html beside it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

EVERYTHING = "*"
_VERSION = "2012-10-17"
_ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}
_NEEDED = {"Effect", "Action", "Resource"}
_TAG_KEYS = "aws:resourcetag/"
_KEYS = {"ec2:createaction", "ec2:launchtemplate", "iam:passedtoservice"}


class PolicyError(ValueError):
    """A policy that can't be evaluated here; names what of it."""


class Decision(StrEnum):
    """What a policy says to a demand, as IAM's simulator spells it."""

    ALLOWED = "allowed"
    IMPLICIT_DENY = "implicitDeny"
    EXPLICIT_DENY = "explicitDeny"


@dataclass(frozen=True, slots=True)
class Demand:
    """One action on one resource.

    :param resource: its ARN; ``*`` if the action knows no resources.
    :param context: condition keys that the request has, e.g. ``aws:ResourceTag/team``.
    """

    action: str
    resource: str = EVERYTHING
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Condition:
    operator: str
    key: str
    values: tuple[str, ...]

    def holds(self, context: Mapping[str, str]) -> bool:
        """A key that the request does not have holds for no value."""
        found = {key.lower(): value for key, value in context.items()}.get(self.key)
        return found is not None and any(_OPERATORS[self.operator](value, found) for value in self.values)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; every condition has to hold."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[_Condition, ...]

    def names(self, action: str) -> bool:
        """Whether the action is among the statement's; upper and lower case are the same."""
        return any(_matches(pattern.lower(), action.lower()) for pattern in self.actions)

    def applies(self, demand: Demand) -> bool:
        """Whether it says anything about this demand."""
        return (
            self.names(demand.action)
            and any(_covers(pattern, demand.resource) for pattern in self.resources)
            and all(condition.holds(demand.context) for condition in self.conditions)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy document that was read."""

    statements: tuple[Statement, ...]

    def names(self, action: str) -> bool:
        """Whether any statement is about this action, on whatever resource."""
        return any(statement.names(action) for statement in self.statements)


def parse(document: str | Mapping[str, Any]) -> Policy:
    """Read a policy document.

    :raises PolicyError: no policy, or one with something in it that is not evaluated here.
    """
    try:
        data = json.loads(document) if isinstance(document, str) else document
    except ValueError as error:
        raise PolicyError(f"it is no JSON: {error}") from error
    if not isinstance(data, dict) or data.get("Version") != _VERSION:
        raise PolicyError(f"its Version is not {_VERSION}")
    found = data.get("Statement")
    return Policy(tuple(_statement(one) for one in (found if isinstance(found, list) else [found])))


def decide(policies: Iterable[Policy], demand: Demand) -> Decision:
    """What the policies of one identity say together."""
    effects = {s.effect for policy in policies for s in policy.statements if s.applies(demand)}
    if "Deny" in effects:
        return Decision.EXPLICIT_DENY
    return Decision.ALLOWED if "Allow" in effects else Decision.IMPLICIT_DENY


def _statement(data: Any) -> Statement:
    if not isinstance(data, dict) or not data.keys() >= _NEEDED:
        raise PolicyError(f"a statement lacks one of {', '.join(sorted(_NEEDED))}: {data}")
    where = f"statement {data.get('Sid', '')}".strip()
    if unknown := sorted(data.keys() - _ELEMENTS):
        raise PolicyError(f"{where}: {unknown[0]} is not evaluated here")
    if data["Effect"] not in ("Allow", "Deny"):
        raise PolicyError(f"{where}: the effect {data['Effect']!r} is neither Allow nor Deny")
    resources = _texts(data["Resource"])
    for resource in resources:
        if resource != EVERYTHING and (resource.count(":") < 5 or not resource.startswith("arn:")):
            raise PolicyError(f"{where}: {resource!r} is neither * nor a whole ARN")
        if "${" in resource:
            raise PolicyError(f"{where}: variables are not evaluated here: {resource}")
    conditions = tuple(
        _condition(where, operator, key, values)
        for operator, block in (data.get("Condition") or {}).items()
        for key, values in block.items()
    )
    return Statement(data["Effect"], _texts(data["Action"]), resources, conditions)


def _condition(where: str, operator: str, key: str, values: Any) -> _Condition:
    if operator not in _OPERATORS:
        raise PolicyError(f"{where}: the operator {operator} is not evaluated here, only {', '.join(_OPERATORS)}")
    if key.lower() not in _KEYS and not key.lower().startswith(_TAG_KEYS):
        raise PolicyError(f"{where}: the condition key {key} is not known here")
    said = _texts(values)
    if any("${" in value for value in said):
        raise PolicyError(f"{where}: variables are not evaluated here: {key}")
    return _Condition(operator, key.lower(), said)


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _matches(pattern: str, text: str) -> bool:
    """``*`` is any characters, ``?`` is one."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None


def _covers(pattern: str, resource: str) -> bool:
    """A ``*`` stays within its part between colons, unless it ends that part: then it may go on beyond it."""
    if pattern == EVERYTHING:
        return True
    within = re.sub(r"\\\*(?!:|$)", "[^:]*", re.escape(pattern)).replace(r"\?", "[^:]")
    return re.fullmatch(within.replace(r"\*", ".*"), resource) is not None


def _arn_like(pattern: str, arn: str) -> bool:
    """Each of the six parts of an ARN is compared by itself."""
    parts, found = pattern.split(":", 5), arn.split(":", 5)
    return len(parts) == len(found) and all(map(_matches, parts, found))


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, found: value == found,
    "ArnLike": _arn_like,
}
