"""Rotations of a ground's cluster by the library, during which a test may act, and what was said meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client, config

from node_rotation import detect, engine, planning
from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.connect import aws_session, connect
from node_rotation.clients.wall import WallClock
from node_rotation.fleet import Fleet
from node_rotation.run import Run
from proving_ground.ground import Ground

DETAILS_S = 1.0
"""An instance refresh takes seconds here and not minutes: it is looked for that much more often."""


def run_on(ground: Ground, groups: Sequence[Mapping[str, Any]], policy: Mapping[str, Any]) -> Run:
    """A run over the ground's only cluster, as docs/library.md has it; the environment points at the ground."""
    (told,) = ground.scenario.clusters
    cluster = {
        "name": told.name,
        "aws": {"region": ground.scenario.region},
        "kubernetes": {"kubeconfig": str(ground.kubeconfig(told.name))},
        "groups": groups,
        "policy": policy,
    }
    fleet = Fleet.model_validate({"environments": [{"name": told.environment, "clusters": [cluster]}]})
    settings, clock = fleet.settings(told.name), WallClock()
    _, kubernetes = connect(settings)
    cloud = AwsCloud(aws_session(settings), details_s=DETAILS_S)
    seen = detect.observe(settings, cloud, kubernetes, clock)
    drifts = [detect.detect(settings, g, cloud, kubernetes, clock, snapshot=seen) for g in settings.groups]
    plan = planning.make_plan(settings, drifts, seen, clock.now())
    return detect.make_run("told", plan, settings, cloud, kubernetes, clock)


@dataclass
class Told:
    """One rotation: what was said, when batches moved, how it ended.

    :param acts: what somebody else does as a batch begins a step, by batch and step; once each.
    :param answers: what somebody else does once a batch waits, by a part of the reason it says; once each.
    """

    acts: dict[tuple[str, str], Callable[[], None]] = field(default_factory=dict)
    answers: dict[str, Callable[[], None]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    moved: list[engine.BatchMoved] = field(default_factory=list)

    def rotate(self, run: Run) -> engine.Result:
        return engine.rotate(run, self._listen)

    def _listen(self, event: engine.Event) -> None:
        if isinstance(event, engine.BatchWaits):
            self.said.extend(event.reasons)
            for part in [part for part in self.answers if any(part in reason for reason in event.reasons)]:
                self.answers.pop(part)()
        elif isinstance(event, engine.Note):
            self.said.append(event.text)
        else:
            self.moved.append(event)
            if act := self.acts.pop((event.batch, event.step or "passed"), None):
                act()

    def flight(self, batch: str) -> tuple[float, float]:
        """From when to when a batch was in flight; epoch seconds."""
        of = [event for event in self.moved if event.batch == batch and event.step != "admit"]
        return of[0].at, of[-1].at


def api(ground: Ground) -> client.ApiClient:
    """A client as a user has it: the administrator's kubeconfig."""
    (told,) = ground.scenario.clusters
    configuration = client.Configuration()
    config.load_kube_config(str(ground.kubeconfig(told.name)), client_configuration=configuration)
    configuration.proxy = None
    return client.ApiClient(configuration)


def audited(ground: Ground, verb: str, resource: str) -> Iterator[dict[str, Any]]:
    """What was asked of the API server and done, e.g. ``create``, ``pods/eviction``."""
    (told,) = ground.scenario.clusters
    for line in ground.audit_log(told.name).read_text().splitlines():
        entry = json.loads(line)
        ref = entry.get("objectRef") or {}
        named = "/".join(filter(None, [ref.get("resource"), ref.get("subresource")]))
        if (entry["verb"], named) == (verb, resource) and (entry.get("responseStatus") or {}).get("code", 500) < 400:
            yield entry
