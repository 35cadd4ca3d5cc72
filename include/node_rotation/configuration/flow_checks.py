"""What only the layers of a policy together can get wrong: no slots, no hours, no means, no look in a lock's time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from node_rotation.clearance.fitting import shortfall
from node_rotation.configuration.durations import written
from node_rotation.errors import BadInputError
from node_rotation.model import ImageStep, Strategy

if TYPE_CHECKING:
    from node_rotation.fleet import Settings
    from node_rotation.policy import Policy

_FOR_ONE_RUN = {"outside_windows": "the windows", "skip_promotion": "promotion", "pin": "newer images"}
LOOKS = 3
"""So many fit into a lock's duration: it is renewed by the first after a third of it."""
_MEANS = {ImageStep.COMMAND: "image_command", ImageStep.POD: "image_pod"}


def check(settings: Settings, by_run: bool) -> None:
    """Refuse what can't be carried out.

    :param by_run: the run's parameters are in it, so they are to blame.
    :raises BadInputError: names the group and the setting.
    """
    for group, policy in settings.groups.items():
        where = "run parameters" if by_run else f"node group {group} of {settings.name}"
        means = _MEANS.get(policy.image_step)
        if means is not None and getattr(policy, means) is None:
            remedy = f"Add {means} to the policy, or choose another image step; docs/image-steps.md has examples."
            raise BadInputError(
                f"{where}: image_step", f"{policy.image_step} needs {means}, and there is none.", remedy
            )


def some_slots(settings: Settings, run: Mapping[str, Any]) -> None:
    """Refuse a budget that lets nothing move, on the side that the group's strategy spends.

    :raises BadInputError: names the group and the setting.
    """
    for name, policy in settings.groups.items():
        side = "max_unavailable" if policy.strategy is Strategy.TERMINATE_FIRST else "max_surge"
        share = getattr(policy.budget, side)
        if share in (0, "0%") and policy.strategy is not Strategy.MANAGED:
            where = "run parameters" if run else f"node group {name} of {settings.name}"
            raise BadInputError(
                f"{where}: budget.{side}",
                f"{share} leaves 0 slots: no machine of group {name} could ever be replaced.",
                "Set it to at least 1, or take the group out of the fleet.",
            )


def for_one_run(settings: Settings, run: Mapping[str, Any]) -> None:
    """Refuse a file that says for good what only a single run may.

    :raises BadInputError: names the cluster and the setting.
    """
    for setting, what in _FOR_ONE_RUN.items():
        for where, policy in _policies(settings).items():
            if getattr(policy, setting) and setting not in run:
                problem = f"would switch {what} off for good."
                raise BadInputError(f"{where}: {setting}", problem, "Say it for a single run instead.")


def some_hours(settings: Settings, run: Mapping[str, Any]) -> None:
    """Refuse windows that no batch fits into.

    :raises BadInputError: names the cluster, the setting and the group.
    """
    where = "run parameters" if run else f"policy of {settings.name}"
    for name, policy in settings.groups.items():
        if why := shortfall(policy):
            remedy = "Make the window longer, or lower gate.settle."
            raise BadInputError(f"{where}: windows", f"no batch of group {name} would ever start: {why}.", remedy)


def looks_in_time(settings: Settings, run: Mapping[str, Any]) -> None:
    """Refuse looks that are too far apart to keep the lock: its run would count as dead between two of them.

    :raises BadInputError: names the cluster or the group, and the setting.
    """
    lock_s = settings.policy.lock_duration
    for where, policy in _policies(settings).items():
        if round(LOOKS * policy.poll, 3) > lock_s:
            by_lock = "lock_duration" in run and "poll" not in run
            raise BadInputError(
                f"{'run parameters' if run else where}: {'lock_duration' if by_lock else 'poll'}",
                f"a lock of {written(lock_s)} is not kept alive by a look each {written(policy.poll)}.",
                f"Set poll to at most {written(math.floor(lock_s / LOOKS * 1000) / 1000)}, "
                f"or lock_duration to at least {written(LOOKS * policy.poll)}.",
            )


def _policies(settings: Settings) -> Mapping[str, Policy]:
    """The cluster's policy and those of its groups, by how messages name them."""
    groups = {f"node group {name} of {settings.name}": policy for name, policy in settings.groups.items()}
    return {f"policy of {settings.name}": settings.policy, **groups}
