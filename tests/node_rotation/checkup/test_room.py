"""What all groups of a cluster together take at most at once, with the slots that it has."""

from __future__ import annotations

import pytest
from tests.node_rotation.builders import NEW

from node_rotation.checkup.doctor import Severity, subnets
from node_rotation.checkup.rights import Subnet
from node_rotation.checkup.room import Need, at_most
from node_rotation.model import GroupPlan, ImageStep, Kind, ManagedPlan, Role, Strategy, Target


def group(name: str, slots: int, *, strategy: Strategy = Strategy.SURGE, extra: int = 0) -> GroupPlan:
    managed = ManagedPlan(eks_cluster="dev", nodegroup=name, version="1.36", at_once=slots, extra=extra, force=False)
    ours = strategy is not Strategy.MANAGED
    return GroupPlan(
        name=name,
        asg=f"dev-{name}",
        role=Role.WORKER,
        kind=Kind.ASG if ours else Kind.EKS_MANAGED,
        strategy=strategy,
        image_step=ImageStep.EXTERNAL,
        needs_image_step=False,
        target=Target(image=NEW, source="test"),
        slots=slots,
        size=10,
        managed=None if ours else managed,
    )


def eks(name: str, at_once: int, extra: int) -> GroupPlan:
    return group(name, at_once, strategy=Strategy.MANAGED, extra=extra)


@pytest.mark.parametrize(
    ("needs", "slots", "most"),
    [
        ([], 3, 0),
        ([Need(group("a", 2), 4), Need(group("b", 2), 8)], 4, 24),
        ([Need(group("a", 2), 4), Need(group("b", 2), 8)], 3, 20),
        ([Need(group("a", 2, strategy=Strategy.TERMINATE_FIRST), 8), Need(group("b", 1), 4)], 3, 4),
        ([Need(eks("a", 1, 6), 2), Need(eks("b", 1, 6), 2)], 1, 12),
        ([Need(eks("a", 2, 6), 1), Need(group("b", 1), 5)], 2, 6),
        ([Need(eks("a", 2, 6), 1), Need(group("b", 1), 5)], 3, 11),
        ([Need(eks("a", 5, 6), 1)], 3, 0),
    ],
)
def test_the_dearest_that_fit_into_the_slots_go_together(needs: list[Need], slots: int, most: int) -> None:
    assert at_most(needs, slots) == most


def test_a_subnet_that_several_groups_use_beside_their_own_is_counted_once() -> None:
    own, shared, other = Subnet("own", "a", 1), Subnet("shared", "b", 1), Subnet("other", "c", 9)
    found = list(subnets("dev.dev", {"mine": (own, shared), "wide": (own, shared, other)}, groups("mine", "wide"), 4))
    assert [(f.severity, f.object) for f in found] == [
        (Severity.WARNING, "group mine, group wide: subnet own"),
        (Severity.WARNING, "group mine, group wide: subnet shared"),
    ]
    narrow = list(subnets("dev.dev", {"mine": (own, shared), "too": (shared,)}, groups("mine", "too"), 4))
    assert [(f.severity, f.what) for f in narrow] == [
        (Severity.BLOCKING, "2 free addresses for 4 machines at once"),
        (Severity.BLOCKING, "1 free addresses for 2 machines at once"),
    ]


def groups(*names: str) -> list[GroupPlan]:
    return [group(name, 2) for name in names]
