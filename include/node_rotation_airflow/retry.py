"""One place where the classes of ``node_rotation.errors`` become Airflow's retry or failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowFailException

from node_rotation.errors import BlockedError, PermanentError, TransientError

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class RotationRetryPolicy(RetryPolicy):
    """Transient: again after the pause the service asked for. Blocked and permanent: no other attempt helps."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide by the error's class; anything unknown as the task's own retries say."""
        if isinstance(exception, TransientError):
            return RetryDecision.retry(timedelta(seconds=exception.retry_after_s), reason=str(exception))
        if isinstance(exception, BlockedError | PermanentError):
            return RetryDecision.fail(reason=str(exception))
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Nothing to remember."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RotationRetryPolicy:
        """Make it again."""
        return cls()


@contextmanager
def said_plainly() -> Iterator[None]:
    """Fail the task at once, with one message for a person, where no retry can help.

    :raises AirflowFailException: for a blocked or permanent error.
    """
    try:
        yield
    except (BlockedError, PermanentError) as error:
        raise AirflowFailException(str(error)) from error
