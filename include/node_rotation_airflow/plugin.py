"""Tells Airflow what is here: the timetable, a page; and imports early what every task would import late."""

from __future__ import annotations

import sys
from collections.abc import Set
from importlib import import_module
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from node_rotation_airflow.timetables import FleetTimetable

PARSES = frozenset({"dag-processor", "scheduler", "worker", "standalone"})
"""Commands whose forks parse DAG files: for itself, or because every task does so first."""
RUNS = frozenset({"scheduler", "triggerer", "worker", "standalone"})
"""Commands whose processes, or their forks, run tasks and triggers; others start faster without."""
SERVES = frozenset({"api-server", "standalone"})
"""Commands that show pages; others start faster without."""
TAB = {
    "name": "Rotation",
    "href": "node-rotation/run?dag_id={DAG_ID}&run_id={RUN_ID}",
    "destination": "dag_run",
    "url_route": "rotation",
}
FOR_PARSING = (
    "airflow.dag_processing.dagbag",
    "airflow.sdk.definitions.decorators",
    "node_rotation_airflow.operators.admit",
    "node_rotation_airflow.operators.approve",
    "node_rotation_airflow.operators.clear",
    "node_rotation_airflow.operators.detect",
    "node_rotation_airflow.operators.heal",
    "node_rotation_airflow.operators.plan",
    "node_rotation_airflow.operators.publish",
    "node_rotation_airflow.operators.report",
    "node_rotation_airflow.operators.request",
    "node_rotation_airflow.operators.sweep",
    "node_rotation_airflow.operators.verify",
    "node_rotation_airflow.params",
)
FOR_RUNNING = (
    "node_rotation_airflow.hooks.aws",
    "node_rotation_airflow.hooks.cluster",
    "node_rotation_airflow.deeds",
    "node_rotation.detect",
    "node_rotation.planning",
)


def pages(commands: Set[str]) -> list[dict[str, Any]]:
    """What an API server serves; nothing in other processes.

    :param commands: the words of this process' command line.
    """
    if not SERVES & commands:
        return []
    from node_rotation_airflow.web.app import PREFIX, app

    return [{"app": app, "url_prefix": PREFIX, "name": "node-rotation"}]


class NodeRotationPlugin(AirflowPlugin):
    """Registered by the entry point, or by ``plugins/node_rotation_plugin.py``."""

    name = "node_rotation"
    timetables = [FleetTimetable]
    external_views = [TAB]
    fastapi_apps = pages(frozenset(sys.argv[1:]))


def preload(commands: Set[str]) -> None:
    """Import once, before Airflow forks, what every task and every parse would import again.

    With the setting ``[core] lazy_load_plugins = False`` a task starts 2.7 s sooner (Airflow 3.3.2).

    :param commands: the words of this process' command line.
    """
    for name in (*(FOR_PARSING if PARSES & commands else ()), *(FOR_RUNNING if RUNS & commands else ())):
        import_module(name)
    if RUNS & commands:
        from node_rotation.clients.aws_models import warm_up

        warm_up()


preload(frozenset(sys.argv[1:]))
