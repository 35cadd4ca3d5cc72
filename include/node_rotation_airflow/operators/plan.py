"""From drift to a plan, pinned for the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from node_rotation_airflow.constants import ROTATION_KEY
from node_rotation_airflow.operators.base import RotationOperator, request_of

CAPACITY = 1000
"""Airflow's default."""

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from node_rotation.model import Plan


class PlanOperator(RotationOperator):
    """Makes the plan and leaves it in XCom.

    Returns its batches by name and group, for ``expand``: an empty list if only a plan was asked for.

    :param drifts: what the detect tasks returned.
    """

    template_fields: Sequence[str] = ("drifts",)

    def __init__(self, *, drifts: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drifts = drifts

    def work(self, context: Context) -> list[dict[str, str]]:
        """Plan; a plan that can't be carried out fails, unless only the plan was asked for."""
        from node_rotation.detect import observe
        from node_rotation.model import GroupDrift
        from node_rotation.planning import make_plan
        from node_rotation.policy import Mode
        from node_rotation_airflow.documents import Rotation
        from node_rotation_airflow.runs import look_only

        request = request_of(context)
        world = look_only(request.settings)
        drifts = [GroupDrift.model_validate(drift) for drift in self.drifts]
        snapshot = observe(request.settings, *world)
        plan = make_plan(request.settings, drifts, snapshot, world.clock.now())
        rotation = Rotation(settings=request.settings, plan=plan)
        context["ti"].xcom_push(key=ROTATION_KEY, value=rotation.dump())
        self._say(plan)
        if request.settings.policy.mode is Mode.PLAN:
            return []
        _refuse(plan)
        _refuse_more_than_wait(len(plan.batches))
        return [{"name": batch.name, "group": batch.group} for batch in plan.batches]

    def _say(self, plan: Plan) -> None:
        from node_rotation import prices
        from node_rotation.configuration.words import given

        self.log.info(
            "plan %s for %s.%s: %d machines in %d batches, %d at once, about %.0f s, %s",
            plan.id,
            plan.environment,
            plan.cluster,
            plan.machines,
            len(plan.batches),
            plan.slots,
            plan.estimate.duration_s,
            prices.say_extra(plan.estimate),
        )
        if plan.overrides:
            self.log.info("with: %s", ", ".join(given(plan.overrides)))
        for batch in plan.batches:
            machines = ", ".join(f"{m.instance_id} ({', '.join(m.reasons)})" for m in batch.machines)
            self.log.info("%s%s: %s", batch.name, " (canary)" if batch.canary else "", machines)
        for note in plan.notes:
            self.log.warning("%s", note)
        for blocker in plan.blockers:
            self.log.warning("%s (%s). %s", blocker.reason, ", ".join(blocker.objects), blocker.remedy)


def _refuse(plan: Plan) -> None:
    """:raises BlockedError: if the plan can't be carried out; names the first cause and how many more."""
    from node_rotation.errors import BlockedError
    from node_rotation.outcome import Blocked

    if plan.blockers:
        first = plan.blockers[0]
        more = f" (and {len(plan.blockers) - 1} more, see above)" if len(plan.blockers) > 1 else ""
        raise BlockedError(Blocked(f"{first.reason}{more}", first.objects, first.remedy))


def _refuse_more_than_wait(batches: int) -> None:
    """Each batch that waits for admission takes a place in a triggerer, and gives none to the step that it waits for.

    :raises BlockedError: if there would be none left; Airflow says nothing, and nothing would ever go on.
    """
    from airflow.sdk.configuration import conf

    from node_rotation.errors import BlockedError
    from node_rotation.outcome import Blocked

    capacity = conf.getint("triggerer", "capacity", fallback=CAPACITY)
    if batches >= capacity:
        raise BlockedError(
            Blocked(
                f"{batches} batches would wait at once, and a triggerer of this Airflow takes {capacity}",
                ("setting [triggerer] capacity",),
                "Set it to 10000, for all runs together: who waits there costs next to nothing.",
            )
        )


class OpenOperator(RotationOperator):
    """Opens the run: touches nothing, skips on an empty plan. Returns the groups to prepare.

    :param batches: what the plan task returned.
    """

    template_fields: Sequence[str] = ("batches",)

    def __init__(self, *, batches: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batches = batches

    def work(self, context: Context) -> list[str]:
        """Return the groups in the plan's order."""
        if not self.batches:
            raise AirflowSkipException("there is nothing to rotate")
        return list(dict.fromkeys(batch["group"] for batch in self.batches))
