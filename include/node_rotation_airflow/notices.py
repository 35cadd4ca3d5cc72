"""Notifications from Airflow's tasks, through its HTTP connections; none of them can fail its task."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from node_rotation_airflow.constants import APPROVE_TASK, HEAL_TASK, UNSENT_KEY

if TYPE_CHECKING:
    from logging import Logger

    from airflow.sdk.definitions.context import Context

    from node_rotation.fleet import Settings
    from node_rotation.notify import Notice


def tell(context: Context, settings: Settings, notice: Notice | None, log: Logger | Any) -> tuple[str, ...]:
    """Send it to whom the policy names, once, however often the task is retried or cleared.

    That it is sent is recorded before it is: a task that dies in between has not told it.

    :param notice: None: there is nothing to tell.
    :returns: what could not be sent; it is a warning in the task's log, and in the report as well.
    """
    if notice is None or not settings.policy.notify:
        return ()
    try:
        unsent = _told(context, settings, notice, log)
    except Exception as error:  # Airflow does not answer: no reason to fail a rotation
        unsent = (f"notification {notice.kind} was not sent: {type(error).__name__}",)
    for line in unsent:
        log.warning("%s", line)
    return unsent


def unsent(ti: Any) -> tuple[str, ...]:
    """What the tasks before the report could not send."""
    from node_rotation.configuration.notify_policy import NoticeKind
    from node_rotation_airflow.documents import Unsent, pushed

    asked = [(APPROVE_TASK, NoticeKind.APPROVAL), (HEAL_TASK, NoticeKind.BATCH_FAILED), (HEAL_TASK, NoticeKind.FROZEN)]
    found = [said for task, kind in asked for said in ti.xcom_pull(task_ids=[task], key=_key(kind)) or () if said]
    return tuple(line for said in found for line in Unsent.read(pushed(said)).lines)


def _told(context: Context, settings: Settings, notice: Notice, log: Logger | Any) -> tuple[str, ...]:
    from node_rotation.notify import send
    from node_rotation_airflow.documents import Unsent
    from node_rotation_airflow.runs import outside

    store, key = context["task_state_store"], f"told-{notice.id}"
    if store.get(key):
        log.info("told already: %s", notice.kind)
        return ()
    store.set(key, notice.kind.value)
    wholly = replace(notice, url=run_url(context))
    said = send(outside(commands=False).http, settings.policy.notify, wholly)
    if said:
        context["ti"].xcom_push(key=_key(notice.kind), value=Unsent(lines=said).dump())
    return said


def _key(kind: str) -> str:
    return f"{UNSENT_KEY}_{kind}"


def run_url(context: Context) -> str | None:
    """The run's page; None if Airflow was not told its own address (``[api] base_url``)."""
    from airflow.sdk.configuration import conf

    base = conf.get("api", "base_url", fallback="")
    ti = context["ti"]
    return f"{base.rstrip('/')}/dags/{quote(ti.dag_id)}/runs/{quote(ti.run_id)}" if base else None
