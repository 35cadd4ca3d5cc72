"""When the nightly check of a fleet begins."""

from __future__ import annotations

from pydantic import Field, field_validator

from node_rotation.clearance.windows import MIDNIGHT, TimeOfDay, Zone
from node_rotation.model import Value


class Night(Value):
    """The hour at which Airflow checks every cluster for drift; a night is called by the date it begins on there."""

    at: TimeOfDay = Field(default="01:00", description="local time, e.g. 01:00")
    zone: Zone = Field(default="UTC", examples=["Europe/Berlin"], description="e.g. Europe/Berlin; its shifts count")

    @field_validator("at")
    @classmethod
    def _within_its_day(cls, at: str) -> str:
        if at == MIDNIGHT:
            raise ValueError('midnight is the beginning of the next day: write "00:00"')
        return at
