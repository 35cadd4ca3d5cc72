"""The form of a manual rotation, and what it means: settings for one run, validated before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from node_rotation.errors import BadInputError
from node_rotation_airflow.partitions import parse

if TYPE_CHECKING:
    from node_rotation.fleet import Fleet, Settings
    from node_rotation_airflow.documents import Request

BY_POLICY = "by policy"
DURATION = r"^((\d+(\.\d+)?[smhd])+)?$"
SHARE = r"^(\d+%?)?$"
ROLES = ("worker", "control-plane")


def _text(section: str, title: str, help_text: str, pattern: str) -> Param:
    return Param("", type="string", pattern=pattern, section=section, title=title, description=help_text)


def _choice(section: str, title: str, help_text: str, *choices: str) -> Param:
    options = [BY_POLICY, *choices]
    return Param(BY_POLICY, type="string", enum=options, section=section, title=title, description=help_text)


def rotation_params(clusters: Sequence[str]) -> dict[str, Param]:
    """The form; every default is valid and means: as the fleet file says.

    :param clusters: ``environment.cluster`` names.
    """
    empty = "Empty: by policy."
    return {
        "cluster": Param(
            "",
            type="string",
            enum=["", *clusters],
            section="Cluster",
            title="Cluster",
            description="Empty only for runs that a partition key started.",
        ),
        "groups": Param(
            [],
            type="array",
            items={"type": "string"},
            section="Groups",
            title="Node groups",
            description="One name per line. Empty: all of the cluster.",
        ),
        "roles": Param(
            [],
            type="array",
            items={"type": "string", "enum": list(ROLES)},
            examples=list(ROLES),
            section="Roles",
            title="Roles",
            description="Empty: all.",
        ),
        "image": _text("Image", "Image", f"An image id, pinned. {empty}", r"^(ami-[0-9a-z]+)?$"),
        "max_surge": _text("Budget", "Max surge", f"Machines or a share, such as 25%. {empty}", SHARE),
        "max_unavailable": _text("Budget", "Max unavailable", f"Machines or a share, such as 25%. {empty}", SHARE),
        "strategy": _choice("Strategy", "Strategy", "How a machine is replaced.", "surge", "detach"),
        "drain_timeout": _text("Drain", "Drain timeout", f"Such as 15m. {empty}", DURATION),
        "drain_grace": _text("Drain", "Grace period", f"Over the pods' own, such as 30s. {empty}", DURATION),
        "drain_force_after": _text("Drain", "Force after", f"Past budgets, such as 30m. {empty}", DURATION),
        "gate_settle": _text("Gates", "Settle", f"How long all must be green, such as 15s. {empty}", DURATION),
        "gate_timeout": _text("Gates", "Gate timeout", f"Such as 15m. {empty}", DURATION),
        "on_gate_failure": _choice("Gates", "When a gate fails", "For later batches.", "hold", "skip", "fail"),
        "mode": _choice("Mode", "Mode", "Only plan, or rotate.", "plan", "rotate"),
    }


POLICY_PATHS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "id"),
    "max_surge": ("budget", "max_surge"),
    "max_unavailable": ("budget", "max_unavailable"),
    "strategy": ("strategy",),
    "drain_timeout": ("drain", "timeout"),
    "drain_grace": ("drain", "grace"),
    "drain_force_after": ("drain", "force_after"),
    "gate_settle": ("gate", "settle"),
    "gate_timeout": ("gate", "timeout"),
    "on_gate_failure": ("gate", "on_failure"),
    "mode": ("mode",),
}
"""Where a parameter goes in the policy."""


def policy_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The partial policy that a form says; what is left empty or "by policy" is not in it."""
    policy: dict[str, Any] = {}
    for name, path in POLICY_PATHS.items():
        value = params.get(name)
        if value in (None, "", BY_POLICY):
            continue
        place = policy
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return policy


def make_request(
    fleet: Fleet, *, conf: Mapping[str, Any], params: Mapping[str, Any], partition_key: str | None, now: datetime
) -> Request:
    """Validate everything a run was started with.

    :param conf: what the run was started with; Airflow accepts any key, we don't.
    :param params: the form's values, defaults included.
    :param partition_key: e.g. ``2026-11-09~prod.eu-1``, or None for a run by hand.
    :param now: the present, with its timezone.
    :raises BadInputError: names the parameter, what is wrong, and what to write instead.
    """
    from node_rotation_airflow.documents import Request

    if unknown := sorted(set(conf) - set(params.keys() if not params else _known(params))):
        known = ", ".join(_known(params)) or "none"
        raise BadInputError(f"conf {', '.join(unknown)}", "is no parameter of this DAG.", f"Known: {known}.")
    partition = parse(partition_key, now) if partition_key else None
    cluster = _cluster(params.get("cluster") or "", partition.cluster if partition else "")
    settings = fleet.settings(cluster, policy_of(params))
    groups = _groups(settings, _names(params, "groups"), _names(params, "roles"))
    return Request(settings=settings, groups=groups, as_of=partition.as_of(now) if partition else None)


def _known(params: Mapping[str, Any]) -> list[str]:
    return [name for name in params if name in POLICY_PATHS or name in ("cluster", "groups", "roles")]


def _cluster(asked: str, of_partition: str) -> str:
    if asked and of_partition and asked != of_partition:
        raise BadInputError(
            "cluster", f"{asked!r} is not the partition key's {of_partition!r}.", "Give one of the two."
        )
    if not asked and not of_partition:
        raise BadInputError("cluster", "is empty, and there is no partition key.", "Choose a cluster.")
    return asked or of_partition


def _names(params: Mapping[str, Any], name: str) -> list[str]:
    """A list as the form gives it; whoever triggers by API or command line easily writes a text instead."""
    given = params.get(name) or []
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        example = given if isinstance(given, str) else "workers"
        raise BadInputError(name, f"{given!r} is no list of names.", f'Write it like ["{example}"].')
    return list(given)


def _groups(settings: Settings, names: Sequence[str], roles: Sequence[str]) -> tuple[str, ...]:
    """The groups a run is about, in the fleet file's order."""
    known = {group.name: group for group in settings.cluster.groups}
    if unknown := sorted(set(names) - set(known)):
        raise BadInputError(
            "groups", f"{settings.name} has no node group {', '.join(unknown)}.", f"Known: {', '.join(known)}."
        )
    if unknown := sorted(set(roles) - set(ROLES)):
        raise BadInputError("roles", f"there is no role {', '.join(unknown)}.", f"Known: {', '.join(ROLES)}.")
    chosen = tuple(
        name for name, group in known.items() if (not names or name in names) and (not roles or group.role in roles)
    )
    if not chosen:
        raise BadInputError("groups", f"no node group of {settings.name} is left.", "Choose fewer limits.")
    return chosen
