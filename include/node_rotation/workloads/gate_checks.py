"""Checks of a user's own that a gate asks besides the cluster's health: an HTTP address, a Prometheus query."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from node_rotation.configuration.shapes import ADDRESS
from node_rotation.model import Value

OK = 200


class GateCheck(Value):
    """One check: ``{http: url, expect: 200}`` or ``{prometheus: url, query, above | below}``.

    A Prometheus query has to answer one or more series, each above, or below, the bound: no data is not green.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"http": "https://shop.example.com/health"}]})

    http: str | None = Field(default=None, pattern=ADDRESS.pattern, description="an address that is fetched with GET")
    expect: int = Field(default=OK, ge=100, le=599, description="the HTTP status it has to answer")
    prometheus: str | None = Field(default=None, pattern=ADDRESS.pattern, description="a Prometheus server's address")
    query: str = Field(
        default="", examples=["sum(rate(errors[5m]))"], description="PromQL, evaluated at the time of each look"
    )
    above: float | None = Field(default=None, description="every value has to be greater")
    below: float | None = Field(default=None, description="every value has to be less")

    @model_validator(mode="after")
    def _one_kind(self) -> GateCheck:
        if bool(self.http) == bool(self.prometheus):
            raise ValueError("a check has one address: http or prometheus")
        bounds = [bound for bound in (self.above, self.below) if bound is not None]
        if self.prometheus and (not self.query or len(bounds) != 1):
            raise ValueError("a prometheus check needs a query and one bound: above or below")
        if self.http and (self.query or bounds):
            raise ValueError("query, above and below belong to a prometheus check")
        return self

    @property
    def label(self) -> str:
        """How messages name it, with what it wants: no two checks of a cluster are named alike."""
        if self.http:
            return f"check {self.http}" + (f", expecting {self.expect}" if self.expect != OK else "")
        bound = f"below {_exact(self.below)}" if self.above is None else f"above {_exact(self.above)}"
        return f"check {self.query} of {self.prometheus}, {bound}"

    def judge_status(self, status: int) -> str:
        """Why an HTTP status is not what is expected; empty if it is."""
        return "" if status == self.expect else f"{self.label}: answered {status}, not {self.expect}"

    def judge_values(self, values: tuple[float, ...]) -> str:
        """Why a query's values are out of bounds; empty if they are within.

        :param values: one per series; NaN is out of bounds.
        """
        if not values:
            return f"{self.label}: no data"
        for value in values:
            if self.above is not None and not value > self.above:
                return f"{self.label}: {value:g} is not above {self.above:g}"
            if self.below is not None and not value < self.below:
                return f"{self.label}: {value:g} is not below {self.below:g}"
        return ""


def _exact(bound: float | None) -> str:
    """A bound with all its digits, as a person writes it: 100, not 100.0."""
    return repr(bound).removesuffix(".0")
