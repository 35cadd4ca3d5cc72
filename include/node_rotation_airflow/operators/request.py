"""The first task of every run: parameters and partition key become one validated request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from node_rotation_airflow import fleet_file
from node_rotation_airflow.constants import REQUEST_KEY
from node_rotation_airflow.operators.base import RotationOperator

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from node_rotation.fleet import Settings


class RequestOperator(RotationOperator):
    """Reads the fleet file once for the whole run; nothing is touched if anything is wrong.

    Returns the names of the node groups, for ``expand``.
    """

    def work(self, context: Context) -> list[str]:
        """Validate and pin."""
        from node_rotation.fleet import load
        from node_rotation_airflow.params import make_request

        dag_run, file = context["dag_run"], fleet_file.path()
        self.log.info("the fleet file is %s", file)
        request = make_request(
            load(file),
            conf=dag_run.conf or {},
            params=dict(context["params"]),
            partition_key=getattr(dag_run, "partition_key", None),
            now=datetime.now(UTC),
            discover=discovered,
        )
        context["ti"].xcom_push(key=REQUEST_KEY, value=request.dump())
        settings: Any = request.settings
        self.log.info("%s: %s, as of %s", settings.name, ", ".join(request.groups), request.as_of or "now")
        return list(request.groups)


def discovered(settings: Settings) -> Settings:
    """The cluster with its groups; only one whose groups are kops' reaches for a connection."""
    from node_rotation.kops.discovery import discover
    from node_rotation_airflow import runs

    return discover(settings, runs.connect(settings).cloud) if settings.cluster.kops else settings
