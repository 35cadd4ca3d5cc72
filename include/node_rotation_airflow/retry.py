"""One place where the classes of ``node_rotation.errors`` become Airflow's retry or failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowFailException, TaskDeferralTimeout

from node_rotation.errors import BlockedError, PermanentError, TransientError
from node_rotation_airflow.constants import LONGEST_PAUSE_S, RETRIES, UNKNOWN_RETRIES

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class RotationRetryPolicy(RetryPolicy):
    """Transient: again, after ever longer pauses. Blocked and permanent: no other attempt helps.

    :param retries: of the task that it is for.
    :param longest_pause_s: no pause grows beyond it, seconds.
    """

    def __init__(self, retries: int = RETRIES, longest_pause_s: float = LONGEST_PAUSE_S) -> None:
        self.retries, self.longest_pause_s = retries, longest_pause_s

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide by the error's class; anything unknown gets a few more tries."""
        tries = try_number - max(0, max_tries - self.retries)  # clearing a task counts on and raises max_tries
        if isinstance(exception, TransientError):
            pause = timedelta(seconds=self._pause_s(exception.retry_after_s, tries))
            return RetryDecision.retry(pause, reason=str(exception))
        if isinstance(exception, BlockedError | PermanentError):
            return RetryDecision.fail(reason=str(exception))
        if tries > UNKNOWN_RETRIES and not isinstance(exception, TaskDeferralTimeout):  # whose deadline is over by then
            return RetryDecision.fail(reason=f"it failed {tries} times: {exception}")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """What :meth:`deserialize` makes it of."""
        return {"retries": self.retries, "longest_pause_s": self.longest_pause_s}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RotationRetryPolicy:
        """Make it again."""
        return cls(**data)

    def _pause_s(self, asked_s: float, tries: int) -> float:
        """What the service asked for, and ever longer: who is not back by then may be away for a while."""
        return max(asked_s, min(self.longest_pause_s, asked_s * 2.0 ** (tries - 1)))


@contextmanager
def said_plainly() -> Iterator[None]:
    """Fail the task at once, with one message for a person, where no retry can help.

    :raises AirflowFailException: for a blocked or permanent error.
    """
    try:
        yield
    except (BlockedError, PermanentError) as error:
        raise AirflowFailException(str(error)) from error


@contextmanager
def insisting() -> Iterator[None]:
    """For who puts back: try again later also what was refused, for credentials are renewed and rights are given.

    :raises TransientError: for a blocked or permanent error.
    """
    try:
        yield
    except (BlockedError, PermanentError) as error:
        raise TransientError(str(error)) from error
