"""The kops pipeline over two clusters: image built, and one cluster after the other is brought to it by Airflow.

For each: intake closed, kops' specification brought to the image by the script of docs/image-steps.md, every node
substituted, stable, intake open; only then the next. The first has three masters with a real etcd. Then runs that
die: begun on a laptop and taken up by Airflow, and the other way round.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import psutil
import pytest
import requests
from tests.e2e.kops.etcd import Watch, access
from tests.e2e.land import ROTATE, Land, eventually
from tests.e2e.landing import ROOT
from tests.e2e.pipelines.kops import FIRST, MASTERS, SECOND

from node_rotation.clients.etcd import probe
from proving_ground.aws import request_log
from proving_ground.control_plane.processes import Processes

pytestmark = [pytest.mark.airflow, pytest.mark.proving_ground, pytest.mark.timeout(1500)]

Cli = Callable[..., Any]
LOOK_S = 3.0
"""Between looks by command line, seconds: each is a process of its own, and takes a second of a core."""
WORKERS = (f"prod.{FIRST}", "--group", "nodes")


@pytest.fixture(scope="module")
def land(land: Land) -> Land:
    return dataclasses.replace(land, cluster=FIRST)


@pytest.fixture
def cli(land: Land) -> Cli:
    """Start the command line as a person has it on a laptop, with the same fleet file."""
    directory = land.reports.parent
    env = {
        **land.ground.env,
        "HOME": str(directory),
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT / "include"),
        "NODE_ROTATION_FLEET": str(directory / "fleet.yaml"),
        "LOGNAME": "alice",
    }

    def start(*arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "node_rotation.cli", "-o", "json", *arguments]
        return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    return start


def announce(land: Land, cluster: str) -> None:
    """What the pipeline that built the image posts."""
    (asset,) = land.airflow.api("GET", "/assets", params={"name_pattern": "node_rotation_drift"})["assets"]
    key = f"{datetime.now(UTC).date()}~prod.{cluster}"
    land.airflow.api("POST", "/assets/events", json={"asset_id": asset["id"], "partition_key": key})


def test_each_cluster_is_upgraded_only_once_the_one_before_takes_installations_again(land: Land) -> None:
    image = land.publish("base-2")
    groups = {FIRST: (*MASTERS, "nodes"), SECOND: ("nodes",)}
    theirs = marks(land, SECOND)
    watch = Watch(land.ground.etcd[FIRST], ("a0", "b1", "c2"))
    with watch.watching():
        for cluster in (SECOND, FIRST):  # whoever is told first has to wait all the same
            announce(land, cluster)
        eventually("two rotations", lambda: len(rotations(land)) == 2)
        runs = rotations(land)
        assert land.ends(runs[FIRST]) == "success"
        assert land.ends(runs[SECOND]) == "success"

    for cluster, names in groups.items():
        for name in names:
            assert set(land.machines(f"{cluster}-{name}").values()) == {image}
        assert set(json.loads((land.reports.parent / f"{cluster}.json").read_text()).values()) == {image}
    assert watch.fewest >= 2
    assert watch.restarted == {"a0", "b1", "c2"}
    assert all(m.healthy for c in probe(access(land.ground, FIRST)) for m in c.members)
    passed = land.report(runs[FIRST])["passed"]
    assert [name.partition("/")[0] for name in passed] == [*MASTERS, "nodes", "nodes"]

    intake = requests.get(f"{land.ground.endpoint}/_proving-ground/intake", timeout=30).json()
    # Two groups' preparations run side by side, and both may close it.
    every = [(what, at) for what, at in zip(intake["said"], intake["said_at"], strict=True) if what[0] in groups]
    said = [(what, min(at for _, at in same)) for what, same in grouped(every)]
    assert [what for what, _ in said] == [[FIRST, False], [FIRST, True], [SECOND, False], [SECOND, True]]
    closed, opened, next_closed, _ = (at for _, at in said)
    first = [at for at in changes(land, FIRST, marks(land, FIRST))]
    second = changes(land, SECOND, theirs)
    assert closed < min(at for at in first if at > closed)
    assert max(first) < min(second)
    assert opened < min(second) <= next_closed
    waited = land.airflow.log(ROTATE, runs[SECOND], "wait")
    assert f"prod.{FIRST} is being rotated by {runs[FIRST]}" in waited
    assert "is closed" in waited


def test_a_rotation_killed_on_a_laptop_is_taken_up_by_airflow(land: Land, cli: Cli) -> None:
    before, image = land.aws(), land.publish("base-3")
    laptop = cli("rotate", *WORKERS)
    try:
        eventually("a machine is on its way", lambda: status(cli).get("batches", {}).get("admitted"), pause_s=LOOK_S)
    finally:
        laptop.send_signal(signal.SIGKILL)
        laptop.communicate(timeout=30)
    seen = status(cli)
    assert (seen["began"]["place"], seen["began"]["who"].partition("@")[0]) == ("command line", "alice")
    assert land.left(before)
    eventually("it counts as dead", lambda: status(cli)["expired"], pause_s=LOOK_S)

    run = land.run({"cluster": f"prod.{FIRST}", "roles": ["worker"]})

    assert land.ends(run) == "success"
    assert land.report(run)["took_up"] == {"run": seen["run"], **seen["began"]}
    finished(land, before, image)


def test_a_run_of_airflow_whose_processes_died_is_taken_up_from_a_laptop(land: Land, cli: Cli) -> None:
    """The last story: after it there is no Airflow any more."""
    before, image = land.aws(), land.publish("base-4")
    run = land.run({"cluster": f"prod.{FIRST}", "roles": ["worker"]})
    eventually("a machine is on its way", lambda: status(cli).get("batches", {}).get("admitted"), pause_s=LOOK_S)
    kill_airflow(land)
    seen = status(cli)
    assert seen["began"] == {"place": "Airflow", "who": run}
    assert land.left(before)
    eventually("it counts as dead", lambda: status(cli)["expired"], pause_s=LOOK_S)

    laptop = cli("rotate", *WORKERS)

    said, _ = laptop.communicate(timeout=400)
    assert laptop.returncode == 0, said
    assert json.loads(said)["took_up"] == {"run": run, "place": "Airflow", "who": run}
    finished(land, before, image)


def rotations(land: Land) -> dict[str, str]:
    """Runs that were announced for one of these clusters, by its name."""
    keys = {run: key.partition("~prod.")[2] for run, key in land.rotations().items()}
    return {cluster: run for run, cluster in keys.items() if cluster}


def grouped(said: Iterable[tuple[list[Any], float]]) -> Iterator[tuple[list[Any], list[tuple[list[Any], float]]]]:
    """What was said to the intake, repetitions in a row taken together."""
    for what, same in groupby(said, key=lambda one: one[0]):
        yield what, list(same)


def finished(land: Land, before: Any, image: str) -> None:
    """Nothing drifted, nothing left, nothing closed."""
    assert set(land.machines(f"{FIRST}-nodes").values()) == {image}
    assert len(land.machines(f"{FIRST}-nodes")) == 2
    assert land.left(before) == []
    assert requests.get(f"{land.ground.endpoint}/_proving-ground/intake", timeout=30).json()["closed"] == []


def status(cli: Cli) -> dict[str, Any]:
    """What anybody sees of the first cluster."""
    asked = cli("status", f"prod.{FIRST}")
    said, _ = asked.communicate(timeout=60)
    assert asked.returncode == 0, said
    return dict(json.loads(said)["clusters"][0])


def kill_airflow(land: Land) -> None:
    """Every process of it at once, tasks included: each of its parts leads a session."""
    leaders = {one.pid for one in Processes(land.airflow.home / "processes.json").recorded()}
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in leaders:
                process.kill()
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue


def marks(land: Land, cluster: str) -> set[str]:
    """By what a call to AWS names a cluster: its groups, their templates and machines."""
    scaling = land.ground.aws.client("autoscaling", access_key="tests")
    tagged = [{"Name": "tag:KubernetesCluster", "Values": [cluster]}]
    found = scaling.describe_auto_scaling_groups(Filters=tagged)["AutoScalingGroups"]
    templates = {asg["LaunchTemplate"]["LaunchTemplateId"] for asg in found}
    machines = {member["InstanceId"] for asg in found for member in asg["Instances"]}
    return {asg["AutoScalingGroupName"] for asg in found} | templates | machines


def changes(land: Land, cluster: str, names: set[str]) -> list[float]:
    """When anybody but the ground's own parts changed something of a cluster, in AWS or in Kubernetes."""
    aws = request_log.mutations(land.ground.request_log)
    at = [r.t for r in aws if any(name in json.dumps(r.parameters, default=str) for name in names)]
    for line in land.ground.audit_log(cluster).read_text().splitlines():
        event = json.loads(line)
        if event["user"].get("username") == "admin" and event["verb"] not in ("get", "list", "watch"):
            at.append(datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp())
    return at
