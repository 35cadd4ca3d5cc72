"""Errors by class: again, or never."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException

from node_rotation.errors import BadInputError, BlockedError, GoneError, RotationError, TransientError
from node_rotation.outcome import Blocked
from node_rotation_airflow.retry import RotationRetryPolicy, said_plainly

BLOCKED = BlockedError(Blocked("a budget allows nothing", ("pdb shop/api",), "Raise it."))


def test_a_transient_error_comes_again_after_the_pause_the_service_asked_for() -> None:
    decision = RotationRetryPolicy().evaluate(TransientError("throttled", retry_after_s=7), 1, 3)

    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=7))


@pytest.mark.parametrize("error", [BLOCKED, GoneError("no such group"), BadInputError("fleet.yaml", "is empty")])
def test_blocked_and_permanent_ones_never(error: RotationError) -> None:
    assert RotationRetryPolicy().evaluate(error, 1, 3).action is RetryAction.FAIL


def test_what_is_unknown_goes_by_the_task_s_own_retries() -> None:
    assert RotationRetryPolicy().evaluate(RuntimeError("?"), 1, 3).action is RetryAction.DEFAULT


def test_a_person_reads_one_message() -> None:
    with (
        pytest.raises(AirflowFailException, match=r"a budget allows nothing \(pdb shop/api\)\. Remedy: Raise it\."),
        said_plainly(),
    ):
        raise BLOCKED


def test_it_survives_serialization() -> None:
    assert isinstance(RotationRetryPolicy.deserialize(RotationRetryPolicy().serialize()), RotationRetryPolicy)
