"""The demo's way to Airflow: start checks, find the rotations they start, answer for the person who approves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from proving_ground.demo import decisions

if TYPE_CHECKING:
    from proving_ground.airflow import Airflow

CHECK, ROTATE = "ami_drift_check", "rotate_nodes"
STARTS_WITHIN_S = 90.0


class DemoError(RuntimeError):
    """The demo did not come to its end; the message says what to look at."""


@dataclass
class Rotations:
    """Checks and rotations of one Airflow."""

    airflow: Airflow
    _known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """What ran before is not ours."""
        self._known |= {str(run["dag_run_id"]) for run in self.airflow.runs(ROTATE)}

    def begin(self, *clusters: str) -> list[str]:
        """Have tonight's check look at clusters; the drift it finds starts their rotations.

        :param clusters: ``environment.cluster``.
        :return: the rotations' run ids.
        :raises DemoError: a check failed, or found no drift.
        """
        keys = [key for key, _, _ in self._checked(clusters)]
        return [self._started(key) for key in keys]

    def refusals(self, *clusters: str) -> list[str]:
        """Have tonight's check look at clusters that must not be rotated.

        :return: what each check's log says.
        :raises DemoError: a check failed, or a rotation was started.
        """
        checked = self._checked(clusters)
        logs = [self.airflow.log(CHECK, run_id, "detect", map_index=0) for _, run_id, _ in checked]
        runs = self.airflow.runs(ROTATE)
        for key, run_id, _ in checked:
            published = [t["state"] for t in self.airflow.tasks(CHECK, run_id) if t["task_id"] == "publish"]
            if published != ["skipped"] or decisions.new_run(runs, self._known, key):
                raise DemoError(f"the check of {key} started a rotation: {self.url(run_id, CHECK)}")
        return logs

    def tasks(self, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a rotation."""
        return self.airflow.tasks(ROTATE, run_id)

    def state(self, run_id: str) -> str:
        """Airflow's word on a rotation."""
        return str(self.airflow.api("GET", f"/dags/{ROTATE}/dagRuns/{run_id}")["state"])

    def approve(self, run_id: str) -> None:
        """As a person does in Airflow's UI."""
        path = f"/dags/{ROTATE}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
        self.airflow.api("PATCH", path, json={"chosen_options": ["Approve"], "params_input": {}})

    def url(self, run_id: str, dag_id: str = ROTATE) -> str:
        """Where to look at a run."""
        return f"{self.airflow.url}/dags/{dag_id}/runs/{run_id}"

    def _checked(self, clusters: Sequence[str]) -> list[tuple[str, str, str]]:
        """Partition key, run id and state of each check, all ended well."""
        night = f"{datetime.now(UTC):%Y-%m-%d}"
        keys = [f"{night}~{cluster}" for cluster in clusters]
        begun = [(key, self.airflow.trigger(CHECK, partition_key=key)) for key in keys]
        ended = [(key, run, self.airflow.wait_run(CHECK, run, STARTS_WITHIN_S)) for key, run in begun]
        for key, run, state in ended:
            if state != "success":
                raise DemoError(f"the drift check of {key} is {state}: {self.url(run, CHECK)}")
        return ended

    def _started(self, key: str) -> str:
        until = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < until:
            if found := decisions.new_run(self.airflow.runs(ROTATE), self._known, key):
                self._known.add(found)
                return found
            time.sleep(0.5)
        raise DemoError(f"the drift check of {key} found no drift, so no rotation started: {self.airflow.url}")
