"""The shortest time that a scenario allows: what is one after another, what is beside it, and what counts."""

from __future__ import annotations

from typing import Any

import pytest

from proving_ground.observer.bound import Bound, bound
from proving_ground.scenario import Cluster, Constants, Scenario, Timing, load

TIMING = Timing(boot=20, shutdown=2, eks_pause=60)
CONSTANTS = Constants(drain=10, gate=10, slots=2)
SHORT_BOUND_S = 240.0


def group(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "base", "min": 1, "max": 9, "desired": 4, **fields}


def of(*groups: dict[str, Any], constants: Constants = CONSTANTS, **old: int) -> Bound:
    """The bound of a cluster ``c`` with these groups, so many old machines in each."""
    cluster = Cluster.model_validate({"name": "c", "environment": "dev", "kind": "kops", "groups": groups})
    return bound(cluster, TIMING, constants, {f"c-{name}": number for name, number in old.items()})


def everything(told: Scenario, name: str) -> Bound:
    """The bound of one of a scenario's clusters, every machine of it old."""
    cluster = next(one for one in told.clusters if one.name == name)
    constants = cluster.observer or told.observer
    assert constants is not None
    return bound(cluster, told.timing, constants, {f"{name}-{g.name}": g.desired for g in cluster.groups})


def test_one_machine_and_then_the_others_over_the_slots() -> None:
    assert of(group("a"), a=5).seconds == 40 + 4 / 2 * 40


def test_worker_groups_share_the_clusters_slots() -> None:
    assert of(group("a"), group("b"), a=3, b=4).seconds == 40 + 6 / 2 * 40


def test_fewer_machines_than_slots_take_as_long_as_one() -> None:
    assert of(group("a"), constants=Constants(drain=10, gate=10, slots=9), a=3).seconds == 40 + 40


def test_masters_go_one_at_a_time_before_the_workers_and_the_first_is_the_canary() -> None:
    master = {"role": "control-plane", "desired": 1}

    found = of(group("m1", **master), group("m2", **master), group("w"), m1=1, m2=1, w=4)

    assert found.seconds == 2 * (20 + 10) + 4 / 2 * 40


def test_a_master_may_have_a_gate_of_its_own() -> None:
    constants = Constants(drain=10, gate=10, master_gate=30, slots=2)

    assert of(group("m", role="control-plane"), constants=constants, m=3).seconds == 3 * (20 + 30)


@pytest.mark.parametrize(
    ("zones", "at_once", "number", "seconds"),
    [
        (1, 2, 2, 20 + 1 * (10 + 60 + 20) + 2 * 10 + 10),
        (1, 1, 3, 20 + 3 * (10 + 60 + 20) + 2 * 10 + 10),
        (3, 2, 4, 20 + 2 * (10 + 60 + 20) + 6 * 10 + 10),
        (1, 5, 5, 20 + 1 * (10 + 60 + 20) + 5 * 10 + 10),
    ],
)
def test_a_managed_group_takes_the_phases_of_eks_guide(zones: int, at_once: int, number: int, seconds: float) -> None:
    managed = {"kind": "eks-managed", "zones": tuple("abc"[:zones]), "max_unavailable": at_once}

    assert of(group("m", **managed), m=number).seconds == seconds


def test_minimal_adds_no_machines_and_takes_none_away() -> None:
    managed = {"kind": "eks-managed", "update_strategy": "MINIMAL", "max_unavailable_percentage": 50}

    assert of(group("m", **managed), m=4).seconds == 2 * (10 + 60 + 20) + 10


def test_eks_works_beside_our_own_workers_and_the_longer_counts() -> None:
    managed = group("m", kind="eks-managed", zones=("a",), max_unavailable=2)

    assert of(group("a"), managed, a=3, m=2).seconds == 40 + 140
    assert of(group("a"), managed, a=11, m=2).seconds == 40 + 10 / 2 * 40


def test_without_old_machines_there_is_none() -> None:
    assert of(group("a"), a=0).seconds == 0
    assert not of(group("a")).parts


def test_the_short_demos_bound_is_what_it_always_was() -> None:
    assert everything(load("demo"), "dev").seconds == SHORT_BOUND_S


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_every_environment_of_the_demo_has_one(name: str) -> None:
    found = everything(load("demo-environments"), name)

    assert found.seconds > 0
    assert all(part.text for part in found.parts)
