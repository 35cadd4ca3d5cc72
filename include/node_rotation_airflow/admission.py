"""Whether a batch may start: the ledger's slots together with what only Airflow knows of earlier batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from node_rotation import lock
from node_rotation.admission import Refuse
from node_rotation.errors import BlockedError, PermanentError, RefusedError, TransientError
from node_rotation.model import Batch, StepName
from node_rotation.outcome import CLEAR_BATCH, Blocked, Done, Waiting
from node_rotation.patience import waiting
from node_rotation.policy import OnGateFailure
from node_rotation.run import Run
from node_rotation.steps.admit import recall, refusal, too_late
from node_rotation_airflow import deeds

Answer = Done | Waiting | Refuse
Gates = Mapping[int, str | None]
"""State of the gate task by map index."""

BAD = frozenset({"failed", "upstream_failed", "skipped", "removed"})
AWAY = Waiting(("Airflow's API server, to learn how earlier batches fare",), 5.0)


def ask(run: Run, index: int, gates: Gates | None) -> Answer:
    """Claim slots for a batch, or learn why not; asked again, it changes nothing more.

    :param index: the batch's map index.
    :param gates: None while Airflow can't say.
    """
    if gates is None:
        return AWAY
    try:
        return _asked(run, index, gates)
    except (TransientError, RefusedError) as error:
        lock.keep_unseen(run)
        return waiting(error)
    except BlockedError as error:
        return blocked_by(error.blocked)
    except PermanentError as error:
        return Refuse("fail", str(error), "")


def _asked(run: Run, index: int, gates: Gates) -> Answer:
    held = earlier_failure(run, index, gates)
    if isinstance(held, Waiting):
        if late := too_late(run, run.plan.batches[index]):
            return Refuse("later", late)  # nobody may clear a gate before the morning
        lock.keep(run, run.look().lease)  # until then nobody else of the run acts, and a silent run counts as dead
    return held or _claim(run, index, gates)


def earlier_failure(run: Run, index: int, gates: Gates) -> Waiting | Refuse | None:
    """What an earlier batch's gate that did not pass means, as Airflow knows it; None if there is none.

    The ledger knows slots and what failed in them; that a batch was marked, skipped, or failed before it had any,
    only Airflow knows.

    :param index: the asking batch's map index.
    """
    earlier = run.plan.batches[:index]
    failed = next((b for i, b in enumerate(earlier) if gates.get(i) in BAD and not _postponed(run, b, gates[i])), None)
    if failed is None:
        return None
    how = run.policy(failed).gate.on_failure
    if how is OnGateFailure.HOLD:
        gate = gates[run.plan.batches.index(failed)] == "failed"
        what = f"clear its task {StepName.GATE} once it can" if gate else CLEAR_BATCH.rstrip(".")
        return Waiting((f"the gate of {failed.name} to pass: {what}",))
    return Refuse("skip" if how is OnGateFailure.SKIP else "fail", f"{failed.name} did not pass its gate")


def _postponed(run: Run, batch: Batch, gate: str | None) -> bool:
    """Skipped only because the maintenance window has no room for it: that is no failure."""
    return gate == "skipped" and bool(too_late(run, batch))


def gates_of(states: Mapping[str, str | None], task_id: str) -> dict[int, str | None]:
    """States by map index; Airflow names a mapped task's instances ``<task id>_<map index>``."""
    start = len(task_id) + 1
    return {
        int(name[start:]): state
        for name, state in states.items()
        if name.startswith(task_id) and name[start:].isdigit()
    }


def refusal_of(batch: str, answer: Refuse) -> Blocked:
    """A refusal as the command line reports it.

    :param batch: the batch's name.
    """
    return Blocked(answer.reason, (f"batch {batch}",), answer.remedy)


def _claim(run: Run, index: int, gates: Gates) -> Answer:
    batch = run.plan.batches[index]
    recall(run, [b for i, b in enumerate(run.plan.batches) if gates.get(i) == "success" and i != index])
    outcome = deeds.attempt(StepName.ADMIT.value, run, batch.name)
    if isinstance(outcome, Blocked):
        return refusal(run, batch) or blocked_by(outcome)
    return outcome


def blocked_by(blocked: Blocked) -> Refuse:
    """What blocks a batch, as the refusal of its admission."""
    return Refuse("fail", str(replace(blocked, remedy="")), blocked.remedy)
