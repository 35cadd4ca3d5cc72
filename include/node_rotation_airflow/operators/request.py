"""The first task of every run: parameters and partition key become one validated request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from node_rotation_airflow import fleet_file
from node_rotation_airflow.constants import REQUEST_KEY
from node_rotation_airflow.operators.base import RotationOperator
from node_rotation_airflow.params import PIN

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from node_rotation.fleet import Settings


class RequestOperator(RotationOperator):
    """Reads the fleet file once for the whole run; nothing is touched if anything is wrong.

    Returns the names of the node groups, for ``expand``.

    :param known: names of the DAG's parameters.
    """

    def __init__(self, *, known: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.known = known

    def work(self, context: Context) -> list[str]:
        """Validate and pin."""
        from node_rotation.fleet import load
        from node_rotation_airflow.params import make_request

        dag_run, file = context["dag_run"], fleet_file.path()
        self.log.info("the fleet file is %s", file)
        request = make_request(
            load(file),
            conf=dag_run.conf or {},
            params=dict(context["params"]) | _asked_by(dag_run),
            partition_key=getattr(dag_run, "partition_key", None),
            now=datetime.now(UTC),
            known=self.known,
            discover=discovered,
        )
        context["ti"].xcom_push(key=REQUEST_KEY, value=request.dump())
        settings: Any = request.settings
        self.log.info("%s: %s, as of %s", settings.name, ", ".join(request.groups), request.as_of or "now")
        return list(request.groups)


def _asked_by(dag_run: Any) -> dict[str, Any]:
    """What the events that started the run ask of it: to stay with its night's image."""
    events = getattr(dag_run, "consumed_asset_events", None) or ()
    return {PIN: True} if any((event.extra or {}).get(PIN) is True for event in events) else {}


def discovered(settings: Settings, *, to_plan: bool = True) -> Settings:
    """The cluster with its groups; only one whose groups are kops' reaches for a connection.

    :param to_plan: False for a sweep.
    """
    from node_rotation.kops.discovery import discover
    from node_rotation_airflow import runs

    if settings.cluster.kops is None:
        return settings
    return discover(settings, runs.connect(settings).cloud, to_plan=to_plan)
