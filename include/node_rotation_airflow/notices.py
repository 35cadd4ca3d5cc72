"""Notifications from Airflow's tasks, through its HTTP connections."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from logging import Logger
    from typing import Any

    from airflow.sdk.definitions.context import Context

    from node_rotation.fleet import Settings
    from node_rotation.notify import Notice


def tell(settings: Settings, notices: Sequence[Notice], log: Logger | Any) -> None:
    """Send them to whom the policy names; what can't be sent is a warning in the task's log."""
    from node_rotation.notify import send
    from node_rotation_airflow.runs import outside

    if settings.policy.notify:
        send(outside(commands=False).http, settings.policy.notify, notices, lambda line: log.warning("%s", line))


def run_url(context: Context) -> str | None:
    """The run's page; None if Airflow was not told its own address (``[api] base_url``)."""
    from airflow.sdk.configuration import conf

    base = conf.get("api", "base_url", fallback="")
    ti = context["ti"]
    return f"{base.rstrip('/')}/dags/{quote(ti.dag_id)}/runs/{quote(ti.run_id)}" if base else None
