"""The fleet of the demo's three environments is a fleet, and says what the scenario is built for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node_rotation.fleet import Fleet, load
from proving_ground.demo import fleet_file, short, stage
from proving_ground.scenario import load as load_scenario

ETCD = {"main": ["http://127.0.0.1:1", "http://127.0.0.1:2"], "events": ["http://127.0.0.1:3"]}
ENDPOINT = "http://127.0.0.1:4"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    (tmp_path / "prod").mkdir()
    (tmp_path / "prod" / "etcd.json").write_text(json.dumps(ETCD))
    names = fleet_file.write(tmp_path, ENDPOINT, tmp_path / "fleet.yaml")
    assert names == ("dev.dev", "staging.staging", "prod.prod")
    return load(tmp_path / "fleet.yaml")


def test_prods_etcd_is_where_the_ground_says(fleet: Fleet) -> None:
    etcd = fleet.settings("prod").policy.control_plane.etcd

    assert {name: list(access.endpoints) for name, access in etcd.items()} == ETCD


def test_nobody_installs_into_prod_while_it_rotates(fleet: Fleet) -> None:
    intake = fleet.settings("prod").policy.intake

    assert intake is not None
    assert intake.http is not None
    assert intake.http.url == ENDPOINT


def test_each_environment_waits_for_the_one_before_and_prod_for_a_person_too(fleet: Fleet) -> None:
    before = {name: [b.settings.name for b in fleet.settings(name).before] for name in ("dev", "staging", "prod")}

    assert before == {"dev": [], "staging": ["dev.dev"], "prod": ["staging.staging"]}
    assert [fleet.settings(name).policy.approval.required for name in ("dev", "staging", "prod")] == [
        False,
        False,
        True,
    ]


def test_the_short_forms_gate_slots_boot_and_drain_are_those_too() -> None:
    scenario = load_scenario(stage.SHORT.scenario)
    (cluster,) = (one for one in scenario.clusters if one.name == short.CLUSTER)
    policy, constants = (
        load(stage.SHORT.fleet).settings(f"{short.ENVIRONMENT}.{short.CLUSTER}").policy,
        scenario.observer,
    )
    assert constants is not None
    assert constants.gate == policy.gate.settle
    assert constants.slots == policy.budget.max_surge
    assert constants.boot == scenario.timing.boot
    assert constants.drain == max(w.stops_after for w in cluster.workloads if w.kind != "DaemonSet")


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_gate_and_slots_are_those_that_the_observer_reckons_with(fleet: Fleet, name: str) -> None:
    cluster = next(one for one in load_scenario("demo-environments").clusters if one.name == name)
    policy = fleet.settings(name).policy
    assert cluster.observer is not None

    masters = {g.name for g in cluster.groups if g.role == "control-plane"}
    gates = {name: group.gate.settle for name, group in fleet.settings(name).groups.items()}
    assert {gates[name] for name in masters} == ({cluster.observer.master_gate} if masters else set())
    assert cluster.observer.gate == policy.gate.settle
    assert cluster.observer.slots == (policy.budget.cluster_slots or policy.budget.max_surge)
    assert cluster.observer.drain == max(w.stops_after for w in cluster.workloads if w.kind != "DaemonSet")
