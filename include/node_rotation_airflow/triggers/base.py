"""What our triggers share: they belong to a task, and say where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol as TaskInstance


class RotationTrigger(BaseTrigger):
    """A trigger of a task of a rotation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def kwargs(self) -> dict[str, Any]:
        """What makes it again, what is as by default left out."""
        raise NotImplementedError

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments that make it again."""
        return f"{type(self).__module__}.{type(self).__name__}", self.kwargs()

    @property
    def ti(self) -> TaskInstance:
        """The task instance that waits.

        :raises RuntimeError: outside a run.
        """
        if self.task_instance is None:
            raise RuntimeError(f"{type(self).__name__} waits only for a task of a run")
        return self.task_instance


def event(payload: dict[str, Any]) -> TriggerEvent:
    """An event that sends the task to a worker.

    :param payload: small and JSON.
    """
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]
