"""Tells Airflow what is here: the timetable; and imports early what every task would import late."""

from __future__ import annotations

import sys
from importlib import import_module

from airflow.plugins_manager import AirflowPlugin

from node_rotation_airflow.timetables import FleetTimetable

RUNS_TASKS = frozenset({"scheduler", "triggerer", "worker", "standalone"})
"""Commands whose processes, or their forks, run tasks and triggers; others start faster without."""
DEAR = (
    "node_rotation_airflow.hooks.aws",
    "node_rotation_airflow.hooks.cluster",
    "node_rotation_airflow.deeds",
    "node_rotation.detect",
    "node_rotation.planning",
)


class NodeRotationPlugin(AirflowPlugin):
    """Registered by the entry point, or by ``plugins/node_rotation_plugin.py``."""

    name = "node_rotation"
    timetables = [FleetTimetable]


def preload() -> None:
    """Import boto3, kubernetes and the hooks once instead of in every task: with the setting
    ``[core] lazy_load_plugins = False`` a task starts 2.4 s sooner (Airflow 3.3.2).
    """
    for name in DEAR:
        import_module(name)


if RUNS_TASKS & set(sys.argv[1:]):
    preload()
