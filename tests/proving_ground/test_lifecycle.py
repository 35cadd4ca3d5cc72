"""up and down as a user types them. Each `up` starts a whole (small) ground in the background."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from tests.proving_ground.conftest import SCENARIO

from proving_ground.control_plane.processes import Processes

pytestmark = pytest.mark.proving_ground
INCLUDE = Path(__file__).parents[2] / "include"
SMALL = SCENARIO | {
    "clusters": [
        {
            "name": "one",
            "environment": "dev",
            "groups": [{"name": "workers", "image": "base-1", "min": 1, "max": 1, "desired": 1}],
        }
    ]
}


def ground(*arguments, directory):
    return subprocess.run(
        [sys.executable, "-m", "proving_ground", *arguments, "--directory", str(directory)],
        env=os.environ | {"PYTHONPATH": str(INCLUDE)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return str(path)


@pytest.fixture
def directory(tmp_path):
    yield tmp_path / "ground"
    ground("down", directory=tmp_path / "ground")


def running(directory):
    return Processes(directory / "processes.json").running()


def processes_that_name(directory):
    lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(directory) in line]


def test_a_ground_s_life(scenario, directory):
    first = ground("up", scenario, directory=directory)
    assert first.returncode == 0, first.stderr + first.stdout
    started = running(directory)
    names = {one.name for one in started}
    assert {"daemon", "etcd", "one/kube-apiserver", "one/kwok"} <= names

    # The shell's side of it: endpoint, keys, no proxy in between, and a kubeconfig per cluster.
    shell = f". {directory / 'env'}; echo $AWS_ENDPOINT_URL $AWS_REGION $AWS_ACCESS_KEY_ID $NO_PROXY"
    said = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout.split()
    assert said[0].startswith("http://127.0.0.1:")
    assert said[1:] == ["eu-central-1", "proving-ground", "127.0.0.1,localhost"]
    assert (directory / "one" / "kubeconfig").exists()
    for line in (said[0], str(directory / "one" / "kubeconfig")):
        assert line in first.stdout

    second = ground("up", scenario, directory=directory)
    assert second.returncode == 0
    assert "already running" in second.stdout
    assert running(directory) == started
    assert len(processes_that_name(directory)) >= len(started)

    other = ground("up", "demo", directory=directory)
    assert other.returncode == 1
    assert "stop it first" in other.stderr

    published = ground("publish", "base-2", directory=directory)
    assert published.returncode == 0, published.stderr
    assert "ami-" in published.stdout

    # A crash: the control planes outlive their daemon, and down still finds them.
    psutil.Process(next(one.pid for one in started if one.name == "daemon")).kill()
    assert ground("status", directory=directory).returncode == 1
    down = ground("down", directory=directory)
    assert down.returncode == 0, down.stderr
    assert "one/kube-apiserver" in down.stdout
    assert [one for one in started if one.process()] == []
    assert processes_that_name(directory) == []  # nor one that nobody noted
    assert not (directory / "env").exists()
    assert "nothing was running" in ground("down", directory=directory).stdout


def test_a_wrong_scenario_is_refused_before_anything_starts(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("name: wrong\nimages: []\nclusters: []\ncolour: red\n")
    refused = ground("up", str(path), directory=tmp_path / "ground")
    assert refused.returncode == 1
    assert "wrong.yaml" in refused.stderr
    assert "colour" in refused.stderr
    assert not (tmp_path / "ground" / "processes.json").exists()


def test_a_start_that_fails_says_why_and_leaves_nothing_running(tmp_path, directory):
    path = tmp_path / "small.yaml"
    broken = SMALL | {"parameters": [{"name": "/images/base/current", "image": "no-such-image"}]}
    path.write_text(yaml.safe_dump(broken))
    failed = ground("up", str(path), directory=directory)
    assert failed.returncode == 1
    assert "did not start" in failed.stderr
    assert "no-such-image" in failed.stderr
    assert running(directory) == []


def test_publish_without_a_ground_says_how_to_start_one(tmp_path):
    refused = ground("publish", "base-2", directory=tmp_path)
    assert refused.returncode == 1
    assert "start it with `up`" in refused.stderr
