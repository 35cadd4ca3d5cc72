"""What the fleet file asks for before a cluster is touched, no run may take back; stricter it may be."""

from __future__ import annotations

from typing import Any

import pytest

from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet, Settings

INTAKE = {"http": {"url": "https://installer", "close": {"path": "/close"}, "open": {"path": "/open"}}}
CHECK = {"http": "https://shop.example/health"}
ETCD = {"main": {"endpoints": ["http://a:8081"]}}
NIGHT = {"from": "22:00", "to": "05:00"}


def run(policy: dict[str, Any], said: dict[str, Any]) -> Settings:
    """The last of three environments, with a policy of its own, and a run that says something on top."""

    def environment(name: str) -> dict[str, Any]:
        groups = [{"name": group, "asg": f"{name}-{group}"} for group in ("workers", "gpu")]
        cluster = {"name": f"{name}-1", "aws": {"region": "eu-central-1"}, "groups": groups}
        return {"name": name, "clusters": [cluster], "policy": policy if name == "prod" else {}}

    fleet = Fleet.model_validate({"environments": [environment(name) for name in ("dev", "staging", "prod")]})
    return fleet.settings("prod-1", said)


@pytest.mark.parametrize(
    ("policy", "said", "named"),
    [
        ({"approval": {"required": True}}, {"approval": {"required": False}}, "approval.required"),
        ({"approval": {"above": {"share": "25%"}}}, {"approval": {"above": {"share": "50%"}}}, "approval.above.share"),
        ({"approval": {"above": {"share": 3}}}, {"approval": {"above": {"share": None}}}, "approval.above.share"),
        ({"approval": {"above": {"share": "25%"}}}, {"approval": {"above": {"share": 2}}}, "approval.above.share"),
        (
            {"approval": {"above": {"control_plane": True}}},
            {"approval": {"above": {"control_plane": False}}},
            "approval.above.control_plane",
        ),
        ({"approval": {"required": True}}, {"approval": {"timeout": "2d"}}, "approval.timeout"),
        ({"promotion": {"after": "previous"}}, {"promotion": {"after": []}}, "promotion.after"),
        ({"promotion": {"after": "previous"}}, {"promotion": {"after": ["dev"]}}, "promotion.after"),
        ({"promotion": {"after": ["dev"]}}, {"promotion": {"soak": "1s"}}, "promotion.soak"),
        ({"promotion": {"after": ["dev"]}}, {"promotion": {"empty": "allow"}}, "promotion.empty"),
        ({"promotion": {"after": ["dev"]}}, {"promotion": {"groups": ["workers"]}}, "promotion.groups"),
        ({"promotion": {"after": ["dev"]}}, {"promotion": {"groups": ["gpu", "workers"]}}, "promotion.groups"),
        ({"promotion": {"after": ["dev"], "groups": ["workers"]}}, {"promotion": {"groups": []}}, "promotion.groups"),
        (
            {"promotion": {"after": ["dev"], "groups": ["workers"]}},
            {"promotion": {"groups": ["tiny"]}},
            "promotion.groups",
        ),
        ({"promotion": {"clusters": "in_turn"}}, {"promotion": {"clusters": "together"}}, "promotion.clusters"),
        ({}, {"control_plane": {"without_probe": True}}, "control_plane.without_probe"),
        ({}, {"control_plane": {"allow_outage": True}}, "control_plane.allow_outage"),
        (
            {"control_plane": {"etcd": ETCD}},
            {"control_plane": {"etcd": {"main": {"endpoints": ["http://mine"]}}}},
            "control_plane.etcd",
        ),
        ({"intake": INTAKE}, {"intake": None}, "intake"),
        ({"intake": INTAKE}, {"intake": {"http": {"close": {"path": "/nowhere"}}}}, "intake"),
        ({"autoscaler": {"pause": True}}, {"autoscaler": {"pause": False}}, "autoscaler"),
        ({"gate": {"checks": [CHECK]}}, {"gate": {"checks": []}}, "gate.checks"),
        ({"windows": [NIGHT]}, {"windows": []}, "windows"),
        ({}, {"windows": [NIGHT]}, "windows"),
        ({"blackouts": [{"from": "2026-12-21", "to": "2027-01-06"}]}, {"blackouts": []}, "blackouts"),
    ],
)
def test_a_run_that_would_be_looser_is_refused_by_name_with_a_way_out(
    policy: dict[str, Any], said: dict[str, Any], named: str
) -> None:
    with pytest.raises(BadInputError) as refused:
        run(policy, said)
    assert refused.value.where == f"run parameters: {named}"
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({}, {"approval": {"required": True, "timeout": "2d"}}),
        ({"approval": {"above": {"share": "25%"}}}, {"approval": {"above": {"share": "10%"}}}),
        ({"approval": {"above": {"share": 3}}}, {"approval": {"above": {"share": 1}}}),
        ({"approval": {"required": True}}, {"approval": {"timeout": "1h"}}),
        ({"promotion": {"after": "previous"}}, {"promotion": {"after": ["dev", "staging"], "soak": "2d"}}),
        ({"promotion": {"after": ["dev"], "groups": ["gpu"]}}, {"promotion": {"groups": ["workers", "gpu"]}}),
        ({"promotion": {"after": ["dev"], "empty": "allow"}}, {"promotion": {"empty": "hold"}}),
        ({}, {"promotion": {"clusters": "in_turn"}}),
        ({"control_plane": {"without_probe": True, "etcd": ETCD}}, {"control_plane": {"without_probe": False}}),
        ({}, {"intake": INTAKE}),
        ({"gate": {"checks": [CHECK]}}, {"gate": {"checks": [{"http": "https://other.example/"}, CHECK]}}),
        ({"approval": {"required": True}}, {"budget": {"max_surge": "50%"}, "drain": {"timeout": "1h"}}),
    ],
)
def test_stricter_or_unlike_it_may_be(policy: dict[str, Any], said: dict[str, Any]) -> None:
    assert run(policy, said).name == "prod.prod-1"


def test_what_is_said_is_what_the_policy_says_and_what_the_run_says() -> None:
    with pytest.raises(BadInputError) as refused:
        run({"approval": {"required": True, "timeout": "8h"}}, {"approval": {"timeout": "2d"}})
    assert refused.value.problem == (
        "the policy of prod.prod-1 says 8h, this run 2d: a run may be stricter than the fleet file, not looser."
    )
    assert "--yes" in refused.value.remedy


def test_a_reason_takes_a_run_past_promotion() -> None:
    policy = {"promotion": {"after": "previous", "clusters": "in_turn"}}
    assert run(policy, {}).before
    told = run(policy, {"skip_promotion": "CVE-2026-1"})
    assert (told.before, told.turn) == ((), None)


def test_no_fleet_file_skips_promotion_for_good() -> None:
    with pytest.raises(BadInputError, match="for a single run"):
        run({"skip_promotion": "never mind"}, {})


def test_nor_does_the_policy_of_a_group() -> None:
    group = {"name": "workers", "asg": "a", "policy": {"outside_windows": "never mind"}}
    cluster = {"name": "one", "aws": {"region": "eu-central-1"}, "groups": [group]}
    fleet = Fleet.model_validate({"environments": [{"name": "dev", "clusters": [cluster]}]})
    with pytest.raises(BadInputError, match="node group workers of dev.one: outside_windows: would switch"):
        fleet.settings("one")


def test_what_a_group_asks_for_itself_is_kept_too() -> None:
    group = {"name": "workers", "asg": "a", "policy": {"gate": {"checks": [CHECK]}}}
    cluster = {"name": "one", "aws": {"region": "eu-central-1"}, "groups": [group]}
    fleet = Fleet.model_validate({"environments": [{"name": "dev", "clusters": [cluster]}]})
    with pytest.raises(
        BadInputError, match=r"gate\.checks: the policy of dev\.one group workers says check https://shop"
    ):
        fleet.settings("one", {"gate": {"checks": []}})
