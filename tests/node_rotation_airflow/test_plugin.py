"""The plugin is registered once, whether the package is installed, on the path, or both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASK = """
import json
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
timetables = sorted(plugins_manager.get_timetables_plugins())
print(json.dumps([[p.name for p in plugins if p.name == "node_rotation"], errors, timetables]))
"""


def install(place: Path) -> None:
    """What `pip install` leaves for an entry point."""
    info = place / "node_rotation-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: node-rotation\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(
        "[airflow.plugins]\nnode_rotation = node_rotation_airflow.plugin:NodeRotationPlugin\n"
    )


@pytest.mark.parametrize(("installed", "folder"), [(True, True), (False, True), (True, False)])
def test_it_is_registered_once(tmp_path: Path, installed: bool, folder: bool) -> None:
    (tmp_path / "empty").mkdir()
    site = tmp_path / "site"
    if installed:
        install(site)
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT / "include")]),
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins" if folder else tmp_path / "empty"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }

    done = subprocess.run(
        [sys.executable, "-c", ASK], env=env, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    names, errors, timetables = json.loads(done.stdout.splitlines()[-1])
    assert names == ["node_rotation"]
    assert errors == {}
    assert "node_rotation_airflow.timetables.FleetTimetable" in timetables
