"""Errors by class: again, or never."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException, TaskDeferralTimeout

from node_rotation.errors import BadInputError, BlockedError, GoneError, RotationError, TransientError
from node_rotation.outcome import Blocked
from node_rotation_airflow.constants import RETRIES
from node_rotation_airflow.retry import RotationRetryPolicy, said_plainly

BLOCKED = BlockedError(Blocked("a budget allows nothing", ("pdb shop/api",), "Raise it."))


def test_a_transient_error_comes_again_after_the_pause_the_service_asked_for() -> None:
    decision = RotationRetryPolicy().evaluate(TransientError("throttled", retry_after_s=7), 1, 3)

    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=7))


@pytest.mark.parametrize("asked_s", [0.5, 5.0, 20.0])
@pytest.mark.parametrize("tries_before", [0, 7], ids=["first", "cleared"])
def test_so_it_is_tried_for_about_half_an_hour_ever_less_often(asked_s: float, tries_before: int) -> None:
    """As on the command line."""
    max_tries = tries_before + RETRIES
    policy, error = RotationRetryPolicy(), TransientError("no answer", asked_s)
    pauses = [
        decision.retry_delay.total_seconds()
        for attempt in range(tries_before + 1, max_tries + 1)
        if (decision := policy.evaluate(error, attempt, max_tries)).retry_delay
    ]

    assert pauses == sorted(pauses)
    assert pauses[:2] == [asked_s, 2 * asked_s]
    assert 1500 <= sum(pauses) <= 2400


@pytest.mark.parametrize("error", [BLOCKED, GoneError("no such group"), BadInputError("fleet.yaml", "is empty")])
def test_blocked_and_permanent_ones_never(error: RotationError) -> None:
    assert RotationRetryPolicy().evaluate(error, 1, 3).action is RetryAction.FAIL


@pytest.mark.parametrize("tries_before", [0, 7], ids=["first", "cleared"])
def test_what_is_unknown_is_tried_three_times_more(tries_before: int) -> None:
    max_tries = tries_before + RETRIES
    actions = [
        RotationRetryPolicy().evaluate(RuntimeError("?"), tries_before + attempt, max_tries).action
        for attempt in range(1, 5)
    ]

    assert actions == [*[RetryAction.DEFAULT] * 3, RetryAction.FAIL]


def test_a_wait_that_timed_out_is_looked_at_again_by_a_task_that_can_say_what_it_waited_for() -> None:
    decision = RotationRetryPolicy().evaluate(TaskDeferralTimeout("Trigger timeout"), 9, RETRIES)

    assert decision.action is RetryAction.DEFAULT


def test_a_person_reads_one_message() -> None:
    with (
        pytest.raises(AirflowFailException, match=r"a budget allows nothing \(pdb shop/api\)\. Remedy: Raise it\."),
        said_plainly(),
    ):
        raise BLOCKED


def test_it_survives_serialization() -> None:
    assert isinstance(RotationRetryPolicy.deserialize(RotationRetryPolicy().serialize()), RotationRetryPolicy)
