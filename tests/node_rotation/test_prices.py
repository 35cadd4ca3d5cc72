"""What a plan costs on top, by the user's own prices; what has no price is named."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml
from tests.node_rotation.crashes import plan_for
from tests.node_rotation.test_fleet import GOOD

from node_rotation import detect, fleet
from node_rotation.errors import BadInputError
from node_rotation.model import Cost, Estimate
from node_rotation.planning import content_id, make_plan
from node_rotation.prices import PriceTable, RegionPrices, priced, read, say
from node_rotation.testing.world import MemoryWorld

EXAMPLE = Path(__file__).parents[2] / "config" / "prices.yaml"
TABLE = RegionPrices(currency="USD", as_of=date(2026, 11, 1), per_hour={"m6i.large": 0.1, "c6i.large": 0.05})
SIX_HOURS = Estimate(duration_s=60.0, extra_instance_hours=6.0)


def cost(*types: str) -> Cost:
    found = priced(SIX_HOURS, TABLE, types).cost
    assert found is not None
    return found


def test_each_machine_takes_its_share_of_the_hours_at_its_own_price() -> None:
    assert cost("m6i.large", "m6i.large", "c6i.large").amount == pytest.approx(2 * 2 * 0.1 + 2 * 0.05)


def test_a_type_without_price_is_named_and_not_in_the_amount() -> None:
    found = cost("m6i.large", "x9.huge", "x9.huge")
    assert (found.amount, found.unpriced) == (0.2, ("x9.huge",))
    assert say(found) == "0.20 USD by prices of 2026-11-01, without x9.huge: no price"


def test_a_machine_that_ec2_does_not_know_has_no_price() -> None:
    assert cost("").unpriced == ("(unknown type)",)


def test_without_a_table_there_is_no_cost() -> None:
    assert priced(SIX_HOURS, None, ["m6i.large"]) == SIX_HOURS


def test_an_empty_plan_costs_nothing() -> None:
    assert priced(SIX_HOURS, TABLE, []).cost is None


def test_a_plan_has_the_cost_of_its_own_machines_and_keeps_its_id() -> None:
    world = MemoryWorld.simple(3)
    plain, settings = plan_for(world)
    prices = TABLE.model_copy(update={"per_hour": {"m6i.large": 1.0}})
    snapshot = detect.observe(settings, world.cloud, world.cluster, world.clock)
    drift = detect.detect(settings, "workers", world.cloud, world.cluster, world.clock, snapshot=snapshot)
    made = make_plan(settings.model_copy(update={"prices": prices}), [drift], snapshot, world.clock.now())
    assert made.estimate.cost is not None
    assert made.estimate.cost.amount == pytest.approx(made.estimate.extra_instance_hours)
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
