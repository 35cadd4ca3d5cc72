"""The form: every default is valid and says nothing; whatever is wrong is one message before anything is touched."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet
from node_rotation.policy import ApprovalPolicy, Mode, OnGateFailure, Policy, Strategy
from node_rotation_airflow.documents import Request
from node_rotation_airflow.params import check_params, make_request, policy_of, rotation_params

NOW = datetime(2026, 11, 9, 14, 30, tzinfo=UTC)


def request(fleet: Fleet, conf: dict[str, Any], partition_key: str | None = None) -> Request:
    form = {name: param.resolve() for name, param in rotation_params(fleet.names).items()}
    return make_request(fleet, conf=conf, params={**form, **conf}, partition_key=partition_key, now=NOW)


def test_every_default_is_valid_and_says_nothing(a_fleet: Fleet) -> None:
    form = {name: param.resolve() for name, param in rotation_params(a_fleet.names).items()}

    assert policy_of(form) == {}


def test_the_form_offers_what_the_fleet_has(a_fleet: Fleet) -> None:
    groups = {"workers": ["dev.one", "prod.eu-1"], "masters": ["dev.one"], "gpu": ["a.1", "a.2", "a.3"]}
    form = rotation_params(a_fleet.names, groups)

    assert form["cluster"].schema["enum"] == [None, "dev.one", "prod.eu-1"]
    assert form["groups"].schema["examples"] == ["workers", "masters", "gpu"]
    assert form["groups"].schema["values_display"] == {
        "workers": "workers (dev.one, prod.eu-1)",
        "masters": "masters (dev.one)",
        "gpu": "gpu (in 3 clusters)",
    }


def test_what_a_person_clears_again_means_by_policy(a_fleet: Fleet) -> None:
    form = rotation_params(a_fleet.names)

    assert all(param.resolve(None) is None for param in form.values())
    assert form["mode"].schema["values_display"]["None"] == "by policy"
    assert policy_of({"mode": None, "max_surge": "", "drain_timeout": None}) == {}


def test_what_a_run_is_about_stands_open_and_how_is_folded_away(a_fleet: Fleet) -> None:
    form = rotation_params(a_fleet.names)
    unfolded = [param.schema["title"] for param in form.values() if "section" not in param.schema]
    sections = [param.schema["section"] for param in form.values() if "section" in param.schema]

    assert unfolded == ["Cluster", "Node groups", "Roles", "Mode"]
    assert list(dict.fromkeys(sections)) == ["Image", "Windows", "Promotion", "Budget", "Strategy", "Drain", "Gates"]


def test_a_partition_key_alone_is_enough(a_fleet: Fleet) -> None:
    found = request(a_fleet, {}, "2026-11-09~dev.one")

    assert (found.settings.name, found.groups, found.as_of) == ("dev.one", ("workers", "masters"), None)


def test_a_run_by_hand_says_what_it_wants(a_fleet: Fleet) -> None:
    conf = {
        "cluster": "dev.one",
        "groups": ["workers"],
        "image": "ami-0abc",
        "max_surge": "25%",
        "strategy": "detach",
        "drain_timeout": "20m",
        "gate_settle": "5s",
        "on_gate_failure": "skip",
        "mode": "plan",
    }
    found = request(a_fleet, conf)
    policy = found.settings.groups["workers"]

    assert found.groups == ("workers",)
    assert (policy.mode, policy.strategy, policy.image.id) == (Mode.PLAN, Strategy.DETACH, "ami-0abc")
    assert (policy.budget.max_surge, policy.drain.timeout, policy.gate.settle) == ("25%", 1200.0, 5.0)
    assert policy.gate.on_failure is OnGateFailure.SKIP


def test_roles_choose_groups(a_fleet: Fleet) -> None:
    assert request(a_fleet, {"cluster": "dev.one", "roles": ["control-plane"]}).groups == ("masters",)


def test_what_was_pinned_survives_xcom(a_fleet: Fleet) -> None:
    found = request(a_fleet, {}, "2026-11-08~dev.one")

    assert Request.read(found.dump()) == found


@pytest.mark.parametrize(
    ("conf", "key", "message"),
    [
        ({}, None, "cluster: is empty, and there is no partition key. Choose a cluster."),
        ({"clutser": "dev.one"}, None, "conf clutser: is no parameter of this DAG. Known: cluster,"),
        (
            {"cluster": "dev.two"},
            None,
            "no cluster 'dev.two' in the fleet. Did you mean 'dev.one'? Known: dev.one, prod.eu-1.",
        ),
        ({"cluster": "prod.eu-1"}, "2026-11-09~dev.one", "is not the partition key's 'dev.one'"),
        ({"cluster": "dev.one", "groups": ["gpu"]}, None, "dev.one has no node group gpu. Known: workers, masters."),
        ({"cluster": "dev.one", "roles": ["master"]}, None, "there is no role master. Known: worker, control-plane."),
        ({"cluster": "prod.eu-1", "roles": ["control-plane"]}, None, "no node group of prod.eu-1 is left"),
        ({"cluster": "dev.one", "drain_timeout": "20"}, None, "drain.timeout: '20' is not a duration"),
        ({"cluster": "dev.one", "max_surge": "half"}, None, "budget.max_surge: 'half' is neither"),
        ({"cluster": "dev.one"}, "dev.one", "is no night and cluster. Write one like 2026-11-09~prod.eu-1."),
    ],
)
def test_bad_input_is_one_message(a_fleet: Fleet, conf: dict[str, Any], key: str | None, message: str) -> None:
    with pytest.raises(BadInputError) as refused:
        request(a_fleet, conf, key)

    assert message in str(refused.value)


def test_a_check_without_a_partition_key_asks_for_one_as_its_form_has_no_cluster(a_fleet: Fleet) -> None:
    params = {name: param.resolve() for name, param in check_params().items()}

    with pytest.raises(BadInputError) as refused:
        make_request(a_fleet, conf={}, params=params, partition_key=None, now=NOW, known=tuple(params))

    assert str(refused.value) == "partition key: is missing. Give one such as 2026-11-09~dev.one."


def test_a_reason_takes_a_run_past_windows_and_promotion(a_fleet: Fleet) -> None:
    found = request(a_fleet, {"cluster": "prod.eu-1", "outside_windows": "CVE-1", "skip_promotion": "CVE-1"})
    assert (found.settings.policy.outside_windows, found.settings.policy.skip_promotion) == ("CVE-1", "CVE-1")


def test_what_the_form_does_not_offer_a_run_can_not_loosen(a_fleet: Fleet) -> None:
    """Whoever builds on `make_request` with parameters of their own meets the fleet file all the same."""
    careful = a_fleet.model_copy(update={"defaults": Policy(approval=ApprovalPolicy(required=True))})
    with pytest.raises(BadInputError, match=r"run parameters: approval\.required"):
        careful.settings("dev.one", {"approval": {"required": False}})
