"""What instances cost, by a table that the user keeps. A type it does not have is named, not guessed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from node_rotation.configuration import document, shapes
from node_rotation.configuration.complaint import explain
from node_rotation.errors import BadInputError
from node_rotation.model import Cost, Estimate, Value

PerHour = Annotated[float, Field(gt=0)]


class RegionPrices(Value):
    """The prices of one region: instance type → price per hour."""

    currency: str
    as_of: date
    per_hour: Mapping[str, PerHour] = {}


class PriceTable(Value):
    """A price table: region → instance type → price per hour."""

    schema_version: Literal[1] = 1
    currency: str = Field(pattern=shapes.CURRENCY.pattern, description="e.g. USD")
    as_of: date = Field(description="when the prices were looked up; said with every amount")
    regions: Mapping[str, Mapping[str, PerHour]] = Field(examples=[{"eu-central-1": {"m6i.large": 0.115}}])

    def of(self, region: str) -> RegionPrices:
        """The prices of one region; none known if the table does not have it."""
        return RegionPrices(currency=self.currency, as_of=self.as_of, per_hour=self.regions.get(region, {}))


def read(path: Path) -> PriceTable:
    """Read a price table.

    :param path: the YAML file.
    :raises BadInputError: names the file, the path in it and the remedy.
    """
    try:
        data = document.read(path.read_text())
    except OSError as error:
        remedy = "Correct prices in the fleet file, or leave it out."
        raise BadInputError(str(path), f"can't be read: {error.strerror}.", remedy) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(str(path), f"is not YAML: {' '.join(str(error).split())}.", "Correct it there.") from error
    try:
        return PriceTable.model_validate(data)
    except ValidationError as error:
        where, problem, remedy = explain(error, data, PriceTable, schema="config/prices.yaml")
        raise BadInputError(f"{path}: {where}", problem, remedy) from error


def priced(estimate: Estimate, prices: RegionPrices | None, hours: Mapping[str, float]) -> Estimate:
    """An estimate with what its extra instance-hours cost; unchanged without a price table.

    :param hours: instance type of the machines that are replaced → extra hours; a replacement has the same type.
    """
    if prices is None or not hours:
        return estimate
    known = {name: prices.per_hour[name] * spent for name, spent in hours.items() if name in prices.per_hour}
    cost = Cost(
        amount=round(sum(known.values()), 4),
        currency=prices.currency,
        as_of=prices.as_of,
        unpriced=tuple(sorted(name or "(unknown type)" for name in hours if hours[name] and name not in known)),
    )
    return estimate.model_copy(update={"cost": cost})


def say(cost: Cost) -> str:
    """A cost as a person reads it, with the date of its prices and every type that has none."""
    said = f"{cost.amount:.2f} {cost.currency} by prices of {cost.as_of}"
    return f"{said}, without {', '.join(cost.unpriced)}: no price" if cost.unpriced else said


def say_extra(estimate: Estimate) -> str:
    """What a plan costs on top of what runs anyway."""
    hours = f"{estimate.extra_instance_hours:.1f} extra instance-hours"
    return f"{hours}, {say(estimate.cost)}" if estimate.cost else hours
