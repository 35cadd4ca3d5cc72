"""Heal begins in the triggerer and takes a worker only if something of its batch failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from node_rotation_airflow.triggers.base import RotationTrigger, event
from node_rotation_airflow.triggers.comms import batch_states

UNTOUCHED = frozenset({"skipped", "upstream_failed", "removed"})
RETRY_S = 5.0


def needs_healing(states: Sequence[str | None]) -> bool:
    """True unless every step of the batch succeeded, or none was begun."""
    return not (all(s == "success" for s in states) or all(s in UNTOUCHED for s in states))


class HealTrigger(RotationTrigger):
    """Looks at the batch's steps once.

    :param task_ids: the steps' task ids.
    """

    def __init__(self, task_ids: Sequence[str]) -> None:
        super().__init__()
        self.task_ids = list(task_ids)

    def kwargs(self) -> dict[str, Any]:
        """What makes it again."""
        return {"task_ids": self.task_ids}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """End the task, or send it to a worker."""
        found = await batch_states(self.ti, self.task_ids)
        while found is None:
            await asyncio.sleep(RETRY_S)
            found = await batch_states(self.ti, self.task_ids)
        if needs_healing(list(found.values())):
            failed = sorted(name for name, state in found.items() if state != "success")
            self.log.info("not passed: %s; healing", ", ".join(failed))
            yield event({"failed": failed})
        else:
            self.log.info("nothing to heal")
            yield TaskSuccessEvent()
