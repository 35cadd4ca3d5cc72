from __future__ import annotations

import sys

import pytest

from proving_ground.control_plane.processes import Processes
from proving_ground.ground import GroundError, environment, start
from proving_ground.scenario import load

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_the_environment_points_every_sdk_at_loopback_and_past_any_proxy():
    variables = environment(load("thin"), "http://127.0.0.1:4000")
    assert variables["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4000"
    assert variables["AWS_REGION"] == variables["AWS_DEFAULT_REGION"] == "eu-central-1"
    assert variables["AWS_EC2_METADATA_DISABLED"] == "true"
    assert "127.0.0.1" in variables["NO_PROXY"]


@pytest.mark.proving_ground
def test_a_directory_where_an_earlier_ground_still_runs_is_refused(tmp_path):
    processes = Processes(tmp_path / "processes.json")
    processes.start("dev/kube-apiserver", SLEEP, tmp_path / "log", {})
    try:
        with pytest.raises(GroundError, match="dev/kube-apiserver"):
            start(load("thin"), tmp_path)
    finally:
        processes.stop()


@pytest.mark.proving_ground
def test_a_second_ground_removes_what_the_first_left_and_nothing_else(ground, tmp_path):
    """The session's ground holds this scenario's account, so starting stops right after the tidying up."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "token-webhook.kubeconfig").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kubeconfig").touch()
    with pytest.raises(RuntimeError, match="already runs in this process"):
        start(ground.scenario, tmp_path)
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "mine" / "kubeconfig").exists()
    assert Processes(tmp_path / "processes.json").running() == []


@pytest.mark.proving_ground
def test_machines_launched_once_the_fleet_is_there_boot_as_slowly_as_the_scenario_says(ground):
    assert ground.aws.world.machines.boot_s == ground.scenario.timing.boot
