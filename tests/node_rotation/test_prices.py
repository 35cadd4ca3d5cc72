"""What a plan costs on top, by the user's own prices; what has no price is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import yaml
from tests.node_rotation.builders import Machine, plan, settings, world
from tests.node_rotation.crashes import plan_for
from tests.node_rotation.test_fleet import GOOD

from node_rotation import detect, fleet
from node_rotation.errors import BadInputError
from node_rotation.estimate import USUAL
from node_rotation.model import Cost, Estimate
from node_rotation.planning import content_id, make_plan
from node_rotation.prices import PriceTable, RegionPrices, priced, read, say
from node_rotation.testing.world import MemoryWorld

EXAMPLE = Path(__file__).parents[2] / "config" / "prices.yaml"
TABLE = RegionPrices(currency="USD", as_of=date(2026, 11, 1), per_hour={"m6i.large": 0.1, "c6i.large": 0.05})
SIX_HOURS = Estimate(duration_s=60.0, extra_instance_hours=6.0)


def cost(hours: Mapping[str, float]) -> Cost:
    found = priced(SIX_HOURS, TABLE, hours).cost
    assert found is not None
    return found


def test_hours_cost_what_their_own_type_costs() -> None:
    assert cost({"m6i.large": 4.0, "c6i.large": 2.0}).amount == pytest.approx(4 * 0.1 + 2 * 0.05)


def test_a_type_without_price_is_named_and_not_in_the_amount() -> None:
    found = cost({"m6i.large": 2.0, "x9.huge": 4.0})
    assert (found.amount, found.unpriced) == (0.2, ("x9.huge",))
    assert say(found) == "0.20 USD by prices of 2026-11-01, without x9.huge: no price"


def test_a_machine_that_ec2_does_not_know_has_no_price_and_one_that_needs_no_hours_needs_none() -> None:
    assert cost({"": 6.0, "x9.huge": 0.0}).unpriced == ("(unknown type)",)


def test_without_a_table_there_is_no_cost() -> None:
    assert priced(SIX_HOURS, None, {"m6i.large": 6.0}) == SIX_HOURS


def test_an_empty_plan_costs_nothing() -> None:
    assert priced(SIX_HOURS, TABLE, {}).cost is None


def test_groups_cost_what_their_own_machines_on_top_cost() -> None:
    """Masters of a dear type go first and cost nothing on top; workers of a cheap one cost their own hours."""
    masters = [Machine(f"i-master-{n}") for n in range(3)]
    workers = [Machine(f"i-worker-{n}") for n in range(3)]
    snapshot = world({"dev-masters": masters, "dev-workers": workers})
    types = {m.id: "m6i.4xlarge" for m in masters} | {m.id: "t3.medium" for m in workers}
    instances = {id_: replace(found, instance_type=types[id_]) for id_, found in snapshot.instances.items()}
    prices = RegionPrices(currency="USD", as_of=date(2026, 11, 1), per_hour={"t3.medium": 0.048})
    masters_group = {"name": "masters", "policy": {"strategy": "terminate_first", "budget": {"max_unavailable": 1}}}
    told = settings([masters_group, {"name": "workers"}]).model_copy(update={"prices": prices})
    made = plan(told, replace(snapshot, instances=instances))
    assert made.estimate.cost is not None
    assert made.estimate.cost.amount == pytest.approx(3 * USUAL.overlap_s / 3600 * 0.048, abs=0.0001)
    assert made.estimate.cost.unpriced == ()


def test_a_plan_has_the_cost_of_its_own_machines_and_keeps_its_id() -> None:
    memory = MemoryWorld.simple(3)
    plain, told = plan_for(memory)
    prices = TABLE.model_copy(update={"per_hour": {"m6i.large": 1.0}})
    snapshot = detect.observe(told, memory.cloud, memory.cluster, memory.clock)
    drift = detect.detect(told, "workers", memory.cloud, memory.cluster, memory.clock, snapshot=snapshot)
    made = make_plan(told.model_copy(update={"prices": prices}), [drift], snapshot, memory.clock.now())
    assert made.estimate.cost is not None
    assert made.estimate.cost.amount == pytest.approx(made.estimate.extra_instance_hours, abs=0.01)
    assert content_id(made) == content_id(plain) == plain.id


def test_the_example_is_a_table_with_a_date() -> None:
    table = read(EXAMPLE)
    assert table.of("eu-central-1").per_hour["m6i.large"] > 0
    assert table.of("mars-north-1").per_hour == {}
    assert table.as_of < date(2027, 1, 1)


def write(path: Path, prices: str | None, table: object = None) -> Path:
    (path / "fleet.yaml").write_text(yaml.safe_dump({**GOOD, "prices": prices}))
    if table is not None:
        (path / "prices.yaml").write_text(yaml.safe_dump(table))
    return path / "fleet.yaml"


def test_a_fleet_file_names_its_table_by_a_path_beside_it(tmp_path: Path) -> None:
    table = {"currency": "EUR", "as_of": date(2026, 11, 1), "regions": {"eu-central-1": {"m6i.large": 0.1}}}
    settings = fleet.load(write(tmp_path, "prices.yaml", table)).settings("dev-1")
    assert settings.prices == PriceTable.model_validate(table).of(settings.cluster.aws.region)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "can't be read"),
        ({"currency": "EUR", "as_of": "2026-11-01", "regions": {"eu-central-1": {"m6i.large": -1}}}, "m6i.large"),
        ({"currency": "euros", "as_of": "2026-11-01", "regions": {}}, "currency"),
    ],
)
def test_a_table_that_cannot_be_right_is_named(tmp_path: Path, table: object, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as refused:
        fleet.load(write(tmp_path, "prices.yaml", table))
    assert "prices.yaml" in str(refused.value)
