"""A proving ground with a real Airflow on it, and what stories need to see of both."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as of_day
from pathlib import Path
from typing import Any

import boto3
import requests
from kubernetes import client
from kubernetes.config import new_client_from_config

from proving_ground.airflow import Airflow
from proving_ground.aws import request_log
from proving_ground.ground import Ground
from proving_ground.observer import residue

CHECK, ROTATE = "ami_drift_check", "rotate_nodes"
TODAY = datetime.now(UTC).date()
NIGHTS = (TODAY - timedelta(days=2), TODAY - timedelta(days=1))
"""Two past nights; between them the second image came out."""
BETWEEN = datetime.combine(NIGHTS[0], of_day(12), UTC)
READ_S = 10.0
"""How long whoever approves reads the plan, seconds."""

SCENARIO: dict[str, Any] = {
    "name": "airflow",
    "timing": {"boot": "3s", "shutdown": "1s", "node_removal": "1s", "heartbeat_grace": "40s"},
    "images": [
        {"name": "base-1", "created": "2026-01-02T06:00:00.000Z"},
        {"name": "base-2", "created": BETWEEN.strftime("%Y-%m-%dT%H:%M:%S.000Z")},
    ],
    "parameters": [{"name": "/images/base/current", "image": "base-2"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [
                {"name": "workers", "image": "base-1", "min": 2, "max": 9, "desired": 4},
                {"name": "batch", "image": "base-1", "min": 1, "max": 3, "desired": 1},
            ],
            "workloads": [
                {
                    "name": "web",
                    "replicas": 6,
                    "ready_after": "1s",
                    "stops_after": "4s",
                    "spread": "hostname",
                    "budget": {"max_unavailable": 3},
                },
                {"name": "agent", "kind": "DaemonSet", "namespace": "kube-system"},
            ],
        },
        {
            "name": "staging",
            "environment": "staging",
            "groups": [{"name": "workers", "image": "base-1", "min": 1, "max": 2, "desired": 1}],
        },
    ],
}
FLEET = """
defaults:
  strategy: detach
  image: {owner: self, name: "base-*"}
  image_step: launch_template
  budget: {max_surge: 4}
  canary: false
  gate: {settle: 1s}
  poll: 2s
environments:
  - name: dev
    clusters:
      - name: dev
        aws: {region: eu-central-1}
        kubernetes: {connection: kubernetes_dev}
        groups:
          - {name: workers, asg: dev-workers}
          - {name: batch, asg: dev-batch}
  - name: staging
    policy: {image: {owner: self, name: base-1}}
    clusters:
      - name: staging
        aws: {region: eu-central-1}
        kubernetes: {connection: kubernetes_staging}
        groups: [{name: workers, asg: staging-workers}]
"""
FRUGAL = {"scheduler": {"scheduler_idle_sleep_time": 1}}
"""Airflow's own pace: with a few batches as quick as the demo's, for four fifths of the CPU."""
READS = ("get", "list", "watch")
ENDED = ("success", "failed")


@dataclass(frozen=True)
class Land:
    """Both, and what they look like from outside."""

    ground: Ground
    airflow: Airflow
    reports: Path
    cluster: str = "dev"
    """The one that most stories are about."""

    @property
    def core(self) -> client.CoreV1Api:
        """That cluster, as its administrator."""
        return client.CoreV1Api(new_client_from_config(str(self.ground.kubeconfig(self.cluster))))

    def publish(self, name: str, **more: Any) -> str:
        """Have a newer image come out; returns its id.

        :param more: ``created``, ``behaviour``, ``parameter``, as the proving ground knows them.
        """
        asked = {"name": name, **more}
        answer = requests.post(f"{self.ground.endpoint}/_proving-ground/publish", json=asked, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["image_id"])

    def image(self, name: str) -> str:
        """An image's id."""
        ec2: Any = boto3.client("ec2")
        return str(ec2.describe_images(Filters=[{"Name": "name", "Values": [name]}])["Images"][0]["ImageId"])

    def newest(self) -> str:
        """The id of the image that came out last."""
        ec2: Any = boto3.client("ec2")
        images = ec2.describe_images(Filters=[{"Name": "name", "Values": ["base-*"]}])["Images"]
        return str(max(images, key=lambda image: image["CreationDate"])["ImageId"])

    def machines(self, group: str) -> dict[str, str]:
        """Live machines of an Auto Scaling group: instance id → image id."""
        aws = residue.read_aws(group.partition("-")[0], "/images/base/current")
        members = {i["InstanceId"] for i in aws.groups[group]["Instances"]}
        return {name: str(one["ImageId"]) for name, one in aws.instances.items() if name in members}

    def left(self, before: residue.Aws) -> list[str]:
        """What a rotation of that cluster left behind, by the observer's own reading of the world."""
        after = self.aws()
        core = self.core
        plain = core.api_client.sanitize_for_serialization
        listed = plain(core.list_node())["items"]
        lease = self.lease()
        nodes = {node["metadata"]["name"]: node for node in listed}
        return [
            *(f"orphan {i}" for i in after.orphans),
            *residue.residue(before, after, nodes, plain(lease)),
        ]

    def aws(self) -> residue.Aws:
        """The AWS side of that cluster."""
        return residue.read_aws(self.cluster, "/images/base/current")

    def mutations(self) -> list[str]:
        """What AWS and the API servers were asked to change so far, by anybody but the ground's own parts."""
        aws = [f"{r.service}:{r.action}" for r in request_log.mutations(self.ground.request_log)]
        return [*aws, *(write for cluster in self.ground.clusters for write in self._writes(cluster))]

    def run(self, conf: dict[str, Any]) -> str:
        """Start a rotation by hand."""
        return self.airflow.trigger(ROTATE, conf)

    def ends(self, run_id: str, timeout_s: float = 700.0, dag_id: str = ROTATE) -> str:
        """The state a run ends in, with what its failed tasks said."""
        state = self.airflow.wait_run(dag_id, run_id, timeout_s)
        return state if state == "success" else f"{state}\n{self.story(dag_id, run_id)}"

    def rotations(self) -> dict[str, str]:
        """Every rotation so far, run id → partition key."""
        return {str(r["dag_run_id"]): str(r["partition_key"]) for r in self.airflow.runs(ROTATE)}

    def states(self, run_id: str, task: str) -> dict[int, str]:
        """States of a mapped task by its map index."""
        return {t["map_index"]: str(t["state"]) for t in self.airflow.tasks(ROTATE, run_id, task_id=task)}

    def state(self, run_id: str, task: str) -> str:
        """The state of a task that is not mapped; "" if the run has none."""
        return self.states(run_id, task).get(-1, "")

    def times(self, run_id: str, task: str, which: str = "start_date") -> list[datetime]:
        """When instances of a task began, or ended with ``end_date``."""
        found = self.airflow.tasks(ROTATE, run_id, task_id=task)
        return [datetime.fromisoformat(t[which]) for t in found if t[which]]

    def answer(self, run_id: str, option: str) -> None:
        """Approve or Reject, as a person does in Airflow, or a script over its API.

        An answer that comes before Airflow's scheduler has seen the asking process end is lost, and the question
        asked again: the plan is read first, and whoever is asked again answers again.
        """
        path = f"/dags/{ROTATE}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"

        def answered() -> bool:
            if self._asks_since(run_id) > READ_S:
                self.airflow.api("PATCH", path, json={"chosen_options": [option], "params_input": {}})
            return self.state(run_id, "approve") in ("success", "skipped")

        eventually(f"{run_id} is answered", answered)

    @property
    def fleet(self) -> Path:
        """The fleet file that this Airflow reads."""
        return self.reports.parent / "fleet.yaml"

    def report(self, run_id: str) -> dict[str, Any]:
        """A run's report."""
        return dict(json.loads(self._reported(run_id).read_text()))

    def page(self, run_id: str) -> str:
        """A run's report as people read it, its entities as characters."""
        return html.unescape(self._reported(run_id).with_suffix(".html").read_text())

    def clear(self, run_id: str, *tasks: str | tuple[str, int], downstream: bool = True) -> None:
        """Clear tasks, with what comes after them, as the UI does by default.

        :param tasks: names; of a mapped one all instances, or name and index.
        """
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": tasks,
            "only_failed": False,
            "include_downstream": downstream,
            "reset_dag_runs": True,
        }
        self.airflow.api("POST", f"/dags/{ROTATE}/clearTaskInstances", json=body)

    def mark(self, run_id: str, task: str, index: int, state: str) -> None:
        """Mark an instance of a mapped task, as the UI does."""
        path = f"/dags/{ROTATE}/dagRuns/{run_id}/taskInstances/{task}/{index}"
        self.airflow.api("PATCH", path, json={"new_state": state})

    def lease(self) -> Any:
        """The cluster's lock as it stands; None if nobody holds it."""
        leases = client.CoordinationV1Api(self.core.api_client).list_namespaced_lease("kube-system")
        return next((one for one in leases.items if one.metadata.name == "node-rotation"), None)

    def story(self, dag_id: str, run_id: str) -> str:
        """What tasks that failed, or still run, said last."""
        said = []
        for task in self.airflow.tasks(dag_id, run_id):
            said.append(f"{task['task_id']}[{task['map_index']}] {task['state']} {task['duration']}")
            if task["state"] in ("failed", "deferred", "up_for_retry"):
                at = {"map_index": task["map_index"], "attempt": max(1, task["try_number"])}
                said.append(self.airflow.log(dag_id, run_id, task["task_id"], **at)[-2500:])
        return "\n".join(said)

    def _reported(self, run_id: str) -> Path:
        found = {json.loads(file.read_text())["run_id"]: file for file in self.reports.glob("*.json")}
        return found[run_id]

    def _asks_since(self, run_id: str) -> float:
        """For how many seconds the run has been asking; 0 while it doesn't."""
        asking = self.times(run_id, "approve") if self.state(run_id, "approve") == "awaiting_input" else []
        return max(((datetime.now(UTC) - began).total_seconds() for began in asking), default=0.0)

    def _writes(self, cluster: str) -> Iterator[str]:
        for line in self.ground.audit_log(cluster).read_text().splitlines():
            event = json.loads(line)
            what = (event.get("objectRef") or {}).get("resource", "")
            if event["user"].get("username") == "admin" and event["verb"] not in READS:
                yield f"{cluster}: {event['verb']} {what}"


def eventually(what: str, true: Callable[[], object], timeout_s: float = 400.0, pause_s: float = 1.0) -> None:
    """Wait until something is true.

    :param what: what it is, for the one who reads that it never was.
    """
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(pause_s)
