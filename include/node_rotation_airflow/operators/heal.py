"""Takes a failed batch back, or forward to the end; a moment's work when it passed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from node_rotation.model import StepName
from node_rotation_airflow.operators.step import StepOperator, cause_of
from node_rotation_airflow.retry import insisting

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from node_rotation.ledger import Claim
    from node_rotation.model import Batch
    from node_rotation.outcome import Blocked
    from node_rotation.run import Run

UNTOUCHED = frozenset({"skipped", "upstream_failed", "removed"})


def needs_healing(states: Collection[str | None]) -> bool:
    """True unless every step of the batch succeeded, or none was begun."""
    return not (all(s == "success" for s in states) or all(s in UNTOUCHED for s in states))


class HealOperator(StepOperator):
    """Looks at its batch's tasks; heals if one that was begun did not pass.

    :param step_task_ids: the batch's other tasks.
    """

    deed = StepName.HEAL.value
    ui_color = "#fde2cf"

    def __init__(self, *, step_task_ids: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step_task_ids = list(step_task_ids)

    def work(self, context: Context) -> dict[str, Any] | None:
        """Heal if needed; the cause goes to the ledger, for whoever asks later."""
        with insisting():
            return self._heal(context)

    def _heal(self, context: Context) -> dict[str, Any] | None:
        from node_rotation_airflow.deeds import batch_of
        from node_rotation_airflow.operators.base import run_of

        states = self._states(context)
        if not needs_healing(states.values()):
            self.log.info("nothing to heal")
            return None
        self.log.info("not passed: %s", ", ".join(sorted(n for n, state in states.items() if state != "success")))
        run = run_of(context)
        batch, cause = batch_of(run, self.subject(context)), self._cause(context)
        began = _holds_slots(run, batch)  # before they are given back
        if cause is not None:
            self._begin_with(run, batch, cause)
        if began:
            self._tell_failed(context, run, batch, cause)
        span = self.begin(context, self.subject(context), resume=bool(run.settings.policy.notify))
        self._tell_frozen(context, cause)
        return span

    def _begin_with(self, run: Run, batch: Batch, cause: Blocked) -> None:
        """The first pass, which writes down why; once that is done, a refusal is waited for like everything else.

        :raises BlockedError: if the ledger could not be reached.
        """
        from node_rotation.errors import BlockedError, PermanentError
        from node_rotation.ledger import ClaimState
        from node_rotation.steps.heal import heal

        try:
            for line in heal(run, batch, str(cause), image_fault=cause.image_fault):
                self.log.info("%s", line)
        except (BlockedError, PermanentError) as error:
            claim = _claim(run, batch)
            if claim is not None and claim.state is ClaimState.ADMITTED:
                raise
            self.log.warning("refused, and tried again: %s", error)

    def after(self, context: Context, subject: str) -> None:
        """Its image may have been frozen meanwhile."""
        self._tell_frozen(context, self._cause(context))

    def _cause(self, context: Context) -> Blocked | None:
        ti: Any = context["ti"]
        return cause_of(context, self.step_task_ids, ti.map_index)

    def _states(self, context: Context) -> Mapping[str, str | None]:
        ti: Any = context["ti"]
        asked = {"run_ids": [ti.run_id], "task_ids": self.step_task_ids, "map_index": ti.map_index}
        return dict(ti.get_task_states(dag_id=ti.dag_id, **asked).get(ti.run_id, {}))

    def _tell_failed(self, context: Context, run: Run, batch: Batch, cause: Blocked | None) -> None:
        from node_rotation import notify
        from node_rotation.outcome import Blocked
        from node_rotation_airflow.notices import tell

        unsaid = Blocked("no task said why", (), "Read the log of the task that failed.")
        later = run.policy(batch).gate.on_failure
        notice = notify.batch_failed(run.settings.name, run.id, batch.name, cause or unsaid, later)
        tell(context, run.settings, notice, self.log)

    def _tell_frozen(self, context: Context, cause: Blocked | None) -> None:
        from node_rotation import notify
        from node_rotation.errors import RotationError
        from node_rotation_airflow.deeds import batch_of
        from node_rotation_airflow.notices import tell
        from node_rotation_airflow.operators.base import run_of

        if cause is None:
            return
        with suppress(RotationError):  # it is healed, whoever is refused by now; the end of the run tells it
            run = run_of(context)
            if not run.settings.policy.notify:
                return
            record = run.freezes.of(run.group(batch_of(run, self.subject(context))).target.image)
            tell(context, run.settings, notify.frozen(run.settings.name, run.id, record, cause), self.log)


def _holds_slots(run: Run, batch: Batch) -> bool:
    """Whether it was admitted and goes back; one that was refused, or still waited, never began."""
    claim = _claim(run, batch)
    return claim is not None and claim.open


def _claim(run: Run, batch: Batch) -> Claim | None:
    from node_rotation import lock

    found = lock.held(run)
    if found is None or found.lease.holder != run.id:
        return None
    return found.ledger.claim(batch.name)
