"""The environments before: which of them have no group that counts, and what a plan says of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from node_rotation.fleet import Before, Settings
from node_rotation.model import GroupPlan, Kind
from node_rotation.policy import PromotionPolicy


def without(before: Sequence[Before], shown: Collection[str]) -> Iterator[str]:
    """The environments of which no cluster has a group that counts, as messages call them: by their clusters.

    :param before: the clusters before, environment by environment.
    :param shown: the names of those that have one.
    """
    for _, found in groupby(before, key=lambda one: one.settings.environment):
        clusters = [one.settings.name for one in found]
        if not any(name in shown for name in clusters):
            yield " and ".join(clusters)


def missing(before: Sequence[Before], shown: Collection[str]) -> Iterator[str]:
    """What is said of each name in ``promotion.groups`` that no cluster before has: nothing shows an image there.

    :param before: the clusters before.
    :param shown: the names that one of them has.
    """
    there = " and ".join(one.settings.name for one in before)
    for name in dict.fromkeys(name for one in before for name in one.named if name not in shown):
        yield f"{there}: no group is called {name} (promotion.groups)"


def nobody(there: str, group: str, promotion: PromotionPolicy) -> str:
    """What is said of an environment that has no group that counts, and what that means.

    :param there: it, from :func:`without`.
    :param group: the group to be rotated.
    """
    who = _named(promotion.groups) or f"takes its image from where group {group} does"
    return f"{there}: no group {who} (promotion.empty: {promotion.empty})"


def notes(settings: Settings, groups: Sequence[GroupPlan]) -> Iterator[str]:
    """What a run will wait for, as far as the fleet file says: kops' groups and EKS' AMI types are known once asked.

    :param groups: those of the plan whose images have to be proven.
    """
    counting = {group.name: [b for b in settings.before if _may_count(b, group)] for group in groups}
    for before in settings.before:
        for_ours = [group for group in groups if before in counting[group.name]]
        if for_ours:
            told = any(_told(before, group) for group in for_ours)
            perhaps = (
                "" if told else f", if a group there {_named(before.named) or 'takes its images from the same place'}"
            )
            yield f"only once {before.settings.name} has proven the image{perhaps}"
    for group in groups:
        for there in without(settings.before, [before.settings.name for before in counting[group.name]]):
            yield nobody(there, group.name, settings.policy.promotion)


def _may_count(before: Before, group: GroupPlan) -> bool:
    """Whether a cluster has a group that an image of ours is to be seen on, or may have one."""
    ours = before.origin(group.name, group.kind, group.role)
    return before.settings.cluster.kops is not None or bool(before.looked_at([ours], before.settings))


def _named(groups: Sequence[str]) -> str:
    return f"is called {' or '.join(groups)}" if groups else ""


def _told(before: Before, group: GroupPlan) -> bool:
    return before.settings.cluster.kops is None and (bool(before.named) or group.kind is not Kind.EKS_MANAGED)
