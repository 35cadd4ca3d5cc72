"""The form of a manual rotation, and what it means: settings for one run, validated before anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from node_rotation.errors import BadInputError
from node_rotation_airflow.nights import Night
from node_rotation_airflow.partitions import Partition, parse

if TYPE_CHECKING:
    from node_rotation.fleet import Fleet, Settings
    from node_rotation_airflow.documents import Request

BY_POLICY = "by policy"
DURATION = r"^((\d+(\.\d+)?[smhd])+)?$"
SHARE = r"^(\d+%?)?$"
OPEN = None
"""No section: what a run is about stands open; Airflow shows one section at a time, the others are folded."""
ROLES = ("worker", "control-plane")
PIN = "pin"


def _shown(section: str | None, title: str, help_text: str) -> dict[str, Any]:
    return {"title": title, "description": help_text} | ({"section": section} if section else {})


def _text(section: str, title: str, help_text: str, pattern: str) -> Param:
    """A line of text; what the form leaves empty comes as null."""
    return Param(None, type=["null", "string"], pattern=pattern, **_shown(section, title, help_text))


def _choice(section: str | None, title: str, help_text: str, empty: str, choices: Mapping[str, str]) -> Param:
    """One of several, each shown in its own words.

    :param empty: what it means to choose none.
    """
    return Param(
        None,
        type=["null", "string"],
        enum=[None, *choices],
        values_display={"None": empty, **choices},
        **_shown(section, title, help_text),
    )


def _several(
    section: str | None, title: str, help_text: str, items: Mapping[str, Any], choices: Mapping[str, str]
) -> Param:
    return Param(
        None,
        type=["null", "array"],
        items=dict(items),
        examples=list(choices),
        values_display=dict(choices),
        **_shown(section, title, help_text),
    )


def _pin(section: str | None) -> Param:
    return Param(
        False,
        type=["null", "boolean"],
        **_shown(
            section,
            "Stay with this image",
            "While it waits (window, promotion, approval), neither a newer image nor a newer run takes its place. "
            "For a past night: its image is rolled out although there is a newer one.",
        ),
    )


def check_params() -> dict[str, Param]:
    """The form of the drift check."""
    return {PIN: _pin(OPEN)}


def rotation_params(
    clusters: Sequence[str], groups: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> dict[str, Param]:
    """The form; every default is valid and means: as the fleet file says.

    :param clusters: ``environment.cluster`` names.
    :param groups: node group name → clusters that have one of that name.
    """
    shown = {name: f"{name} ({_where(places)})" for name, places in groups.items()}
    return {
        "cluster": _choice(
            OPEN,
            "Cluster",
            "One per run. (Runs that the drift check starts have it from their partition key.)",
            "from the partition key",
            {name: name for name in clusters},
        ),
        "groups": _several(
            OPEN,
            "Node groups",
            "None chosen: all of the cluster.",
            {"type": "string"},
            shown,
        ),
        "roles": _several(
            OPEN,
            "Roles",
            "None chosen: all. Control planes go first, one machine at a time.",
            {"type": "string", "enum": list(ROLES)},
            {"worker": "workers", "control-plane": "control planes"},
        ),
        "mode": _choice(
            OPEN,
            "Mode",
            "A plan names every machine, why it goes, how long it takes and what blocks it; nothing is touched.",
            BY_POLICY,
            {"plan": "plan only: touch nothing", "rotate": "rotate: replace the machines"},
        ),
        "image": _text(
            "Image",
            "Roll out this image",
            "An id such as ami-0123456789abcdef0; an older one rolls back. Empty: what the fleet file asks for.",
            r"^(ami-[0-9a-z]+)?$",
        ),
        PIN: _pin("Image"),
        "outside_windows": _text(
            "Windows",
            "Work outside the maintenance windows because",
            "The reason goes on record. Empty: only in the windows that the fleet file gives.",
            r"^.*$",
        ),
        "skip_promotion": _text(
            "Promotion",
            "Wait neither for the environments before nor for the clusters ahead because",
            "The reason goes on record. Empty: only once they have proven the image, where the fleet file asks for it.",
            r"^.*$",
        ),
        "max_surge": _text(
            "Budget",
            "Extra machines at once",
            "A number or a share of the group: 3, 25%. Empty: by policy.",
            SHARE,
        ),
        "max_unavailable": _text(
            "Budget",
            "Missing machines at once",
            "Counts for strategies that terminate first: 1, 10%. Empty: by policy.",
            SHARE,
        ),
        "strategy": _choice(
            "Strategy",
            "How is a machine replaced?",
            "With surge and detach the replacement serves before the old machine is drained. Masters of kops go first.",
            BY_POLICY,
            {
                "surge": "surge: the group grows for a while, then drains and shrinks back",
                "detach": "detach: the old machine leaves its group, which fills the gap",
                "terminate_first": "terminate_first: no extra capacity, one machine less meanwhile",
            },
        ),
        "drain_timeout": _text(
            "Drain",
            "Give up after",
            "A drain that takes longer fails its batch: 15m. Empty: by policy.",
            DURATION,
        ),
        "drain_grace": _text(
            "Drain",
            "Grace period of pods",
            "Instead of the pods' own: 30s. Empty: the pods' own, or by policy.",
            DURATION,
        ),
        "drain_force_after": _text(
            "Drain",
            "Delete pods past their disruption budgets after",
            "DANGER: this can cause an outage. Empty: by policy, which by default never does.",
            DURATION,
        ),
        "gate_settle": _text(
            "Gates",
            "Healthy for",
            "So long all must be as well as before, without a gap: 30s. Empty: by policy.",
            DURATION,
        ),
        "gate_timeout": _text(
            "Gates",
            "Give up after",
            "A batch that is not healthy by then fails: 15m. Empty: by policy.",
            DURATION,
        ),
        "on_gate_failure": _choice(
            "Gates",
            "If a batch fails, later ones",
            "Held batches go on by themselves once the failed health_gate is cleared and passes.",
            BY_POLICY,
            {"hold": "hold: wait for somebody", "skip": "skip: are left out", "fail": "fail"},
        ),
    }


def _where(clusters: Sequence[str]) -> str:
    return f"in {len(clusters)} clusters" if len(clusters) > 2 else ", ".join(clusters)


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
    "outside_windows": ("outside_windows",),
    "skip_promotion": ("skip_promotion",),
    PIN: (PIN,),
}
"""Where a parameter goes in the policy."""


def policy_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The partial policy that a form says; what is left empty is not in it."""
    policy: dict[str, Any] = {}
    for name, path in POLICY_PATHS.items():
        value = params.get(name)
        if value in (None, "") or value is False:
            continue
        place = policy
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return policy


def make_request(
    fleet: Fleet,
    *,
    conf: Mapping[str, Any],
    params: Mapping[str, Any],
    partition_key: str | None,
    now: datetime,
    known: Sequence[str] | None = None,
    discover: Callable[[Settings], Settings] = lambda settings: settings,
) -> Request:
    """Validate everything a run was started with.

    :param conf: what the run was started with; Airflow accepts any key, we don't.
    :param params: the form's values, defaults included.
    :param partition_key: e.g. ``2026-11-09~prod.eu-1``, or None for a run by hand.
    :param now: the present, with its timezone.
    :param known: the DAG's own parameters; None: whatever ``params`` has. (Airflow puts all of conf into those.)
    :param discover: finds the groups of a cluster whose fleet file does not list them.
    :raises BadInputError: names the parameter, what is wrong, and what to write instead.
    """
    from node_rotation_airflow.documents import Request

    own = _known(params) if known is None else known
    if unknown := sorted(set(conf) - set(own)):
        raise BadInputError(
            f"conf {', '.join(unknown)}", "is no parameter of this DAG.", f"Known: {', '.join(own) or 'none'}."
        )
    night = Night(fleet.night.at, fleet.night.zone)
    partition = parse(partition_key, now, night) if partition_key else None
    if partition is None and "cluster" not in own:
        example = Partition(now.astimezone(UTC).date(), fleet.names[0]).key
        raise BadInputError("partition key", "is missing.", f"Give one such as {example}.")
    cluster = _cluster(params.get("cluster") or "", partition.cluster if partition else "")
    settings = discover(fleet.settings(cluster, policy_of(params)))
    groups = _groups(settings, _names(params, "groups"), _names(params, "roles"))
    return Request(settings=settings, groups=groups, as_of=partition.as_of(now, night) if partition else None)


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
