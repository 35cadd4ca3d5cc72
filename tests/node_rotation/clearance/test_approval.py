"""Who has to approve what: by environment, above a share of machines, for any control plane."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from tests.node_rotation.builders import Machine, plan, settings, world

from node_rotation.clearance.approval import asks_about, needed, table
from node_rotation.model import Cost, Plan
from node_rotation.policy import ApprovalPolicy


def made(count: int = 4, right: int = 0, role: str = "worker", **policy: Any) -> Plan:
    """A plan for so many machines; others of the cluster are right already."""
    machines = [Machine(f"i-{n}", image="ami-old" if n < count else "ami-new") for n in range(count + right)]
    return plan(settings([{"name": "workers", "role": role}], **policy), world({"dev-workers": machines}))


def ask(what: Plan, **policy: Any) -> str:
    return needed(what, ApprovalPolicy.model_validate(policy))


def test_by_default_nobody_has_to_approve():
    assert ask(made()) == ""


def test_an_environment_may_ask_for_every_plan_but_not_for_nothing():
    assert ask(made(), required=True) == "dev asks for every rotation"
    assert ask(made(0, right=3), required=True) == ""


@pytest.mark.parametrize(
    ("share", "why"),
    [
        ("25%", ""),
        ("24%", "1 of 4 machines are replaced, more than 24%"),
        (1, ""),
        (0, "1 machines are replaced, more than 0"),
        ("0%", "1 of 4 machines are replaced, more than 0%"),
    ],
)
def test_a_share_of_the_clusters_machines(share, why):
    assert ask(made(1, right=3), above={"share": share}) == why


def test_any_control_plane():
    assert ask(made(1, role="control-plane"), above={"control_plane": True}) == "control planes are replaced: workers"
    assert ask(made(1), above={"control_plane": True}) == ""


def test_all_reasons_are_named():
    assert ask(made(4), required=True, above={"share": 2}).count(";") == 1


def test_the_table_says_what_happens_and_why_somebody_is_asked():
    noted = made(2, right=2).model_copy(update={"notes": ("a|b",)})
    text = table(noted, "dev asks for every rotation")
    assert "**dev.dev**: 2 machines in 2 batches" in text
    assert "Asked because dev asks for every rotation." in text
    assert "| workers | worker | 2 of 4 | 1 | surge | base-ami-new | ami-new |" in text
    assert r"a\|b" in text


def test_the_table_says_what_the_run_has_otherwise_than_the_fleet_file_and_what_it_costs():
    cost = Cost(amount=1.5, currency="USD", as_of=date(2026, 11, 1))
    plain = made(2)
    text = table(
        plain.model_copy(
            update={
                "overrides": {"drain": {"force_after": "60s"}, "canary": False},
                "estimate": plain.estimate.model_copy(update={"cost": cost}),
            }
        ),
        "dev asks for every rotation",
    )
    assert "With, on top of the fleet file: drain.force_after=60s, canary=false." in text
    assert "extra instance-hours, 1.50 USD by prices of 2026-11-01. Plan " in text
    assert "With," not in table(plain, "dev asks for every rotation")


def test_a_question_is_about_one_plan():
    plain, other = made(2), made(3)
    assert asks_about(plain, table(plain, "dev asks for every rotation"))
    assert not asks_about(other, table(plain, "dev asks for every rotation"))
