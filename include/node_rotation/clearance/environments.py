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


def nobody(there: str, group: str, promotion: PromotionPolicy) -> str:
    """What is said of an environment that has no group that counts, and what that means.

    :param there: it, from :func:`without`.
    :param group: the group to be rotated.
    """
    who = f"takes its image from where group {group} does"
    if promotion.groups:
        who = f"is called {' or '.join(promotion.groups)}"
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
            perhaps = "" if told else ", if a group there takes its images from the same place"
            yield f"only once {before.settings.name} has proven the image{perhaps}"
    for group in groups:
        for there in without(settings.before, [before.settings.name for before in counting[group.name]]):
            yield nobody(there, group.name, settings.policy.promotion)


def _may_count(before: Before, group: GroupPlan) -> bool:
    """Whether a cluster has a group that an image of ours is to be seen on, or may have one."""
    ours = before.origin(group.name, group.kind, group.role)
    return before.settings.cluster.kops is not None or bool(before.looked_at([ours], before.settings))


def _told(before: Before, group: GroupPlan) -> bool:
    return before.settings.cluster.kops is None and (bool(before.named) or group.kind is not Kind.EKS_MANAGED)
