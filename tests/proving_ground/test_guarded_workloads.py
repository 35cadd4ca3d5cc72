"""One rotation of workloads that have to be gone about with care, on a real control plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import pytest
from kubernetes import client
from tests.proving_ground.rotating import Told, api, audited, run_on

from node_rotation import engine
from proving_ground.aws.events import InstanceEvent
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(600)]

ASK = "karpenter.sh/do-not-disrupt"
LEFT_S = 30
"""For so long from now on somebody asks for pods to be left alone, as the rotation begins; seconds."""
ZONE = "topology.kubernetes.io/zone"
SCENARIO: dict[str, Any] = {
    "name": "guarded",
    "account": "510987650021",
    "timing": {"boot": "500ms", "shutdown": "300ms", "node_removal": "300ms"},
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "base-2", "created": "2026-11-08T06:00:00.000Z"},
    ],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [
                {
                    "name": "workers",
                    "image": "base-1",
                    "next_image": "base-2",
                    "min": 1,
                    "max": 8,
                    "desired": 4,
                    "zones": ["a", "b"],
                }
            ],
            "workloads": [
                {
                    "name": "queue",
                    "kind": "StatefulSet",
                    "replicas": 2,
                    "volume": True,
                    "ready_after": "500ms",
                    "stops_after": "500ms",
                    "budget": {"max_unavailable": 1},
                },
                {
                    "name": "solo",
                    "replicas": 1,
                    "ready_after": "5s",  # long enough to be seen waiting for
                    "stops_after": "500ms",
                    "budget": {"min_available": 1},
                },
                {
                    "name": "import",
                    "replicas": 2,
                    "spread": "hostname",
                    "stops_after": "500ms",
                },
                {"name": "agent", "kind": "DaemonSet", "namespace": "kube-system"},
            ],
        }
    ],
}
POLICY: dict[str, Any] = {
    "strategy": "detach",
    "canary": False,
    "poll": "1s",
    "gate": {"settle": "1s", "timeout": "60s"},
    "budget": {"max_surge": 4},
    "drain": {"timeout": "120s", "roll_single_replicas": True},
}


@dataclass
class Seen:
    """The rotation, and what was there before and as machines went."""

    ground: Ground
    core: client.CoreV1Api
    told: Told
    batches: dict[str, str]
    before: dict[str, client.V1Pod]
    asked_s: dict[str, int] = field(default_factory=dict)
    result: engine.Result | None = None
    attached_as_it_went: dict[str, list[str]] = field(default_factory=dict)

    def went(self, event: InstanceEvent) -> None:
        if event.kind == "shutting-down":
            found = client.StorageV1Api(self.core.api_client).list_volume_attachment().items
            named = [one.spec.source.persistent_volume_name for one in found]
            here = [n for n, one in zip(named, found, strict=True) if one.spec.node_name == event.private_dns_name]
            self.attached_as_it_went[event.private_dns_name] = here

    def ask(self) -> None:
        """Somebody asks for the pods of ``import`` to be left alone for a while; that counts from a pod's start."""
        for name, pod in self.before.items():
            if name.startswith("import-"):
                age_s = int((datetime.now(UTC) - pod.status.start_time).total_seconds())
                self.asked_s[name] = age_s + LEFT_S
                told = {"metadata": {"annotations": {ASK: f"{self.asked_s[name]}s"}}}
                self.core.patch_namespaced_pod(name, "default", told)

    def nodes_of(self, app: str) -> set[str]:
        return {pod.spec.node_name for pod in self.before.values() if pod.metadata.labels.get("app") == app}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with (
        start(Scenario.model_validate(SCENARIO), tmp_path_factory.mktemp("guarded")) as ground,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in ground.env.items():
            environment.setenv(name, value)
        core = client.CoreV1Api(api(ground))
        run = run_on(ground, [{"name": "workers", "asg": "dev-workers"}], POLICY)
        batches = {str(batch.machines[0].node): batch.name for batch in run.plan.batches}
        before = {pod.metadata.name: pod for pod in core.list_namespaced_pod("default").items}
        found = Seen(ground, core, Told(), batches, before)
        ground.aws.world.subscribe(found.went)
        found.ask()
        found.result = found.told.rotate(run)
        yield found


def test_it_ends_well_and_all_machines_run_the_new_image(seen: Seen) -> None:
    assert seen.result is not None
    assert seen.result.ok, (seen.result, seen.told.said)
    world = seen.ground.aws.world
    members = world.autoscaling.group("dev-workers").live()
    assert [str(world.images.record(m.blueprint.image_id).name) for m in members] == ["base-2"] * 4
    assert len(seen.attached_as_it_went) == 4


def test_a_machine_goes_only_when_the_real_controller_has_detached_its_volumes(seen: Seen) -> None:
    assert seen.attached_as_it_went == {node: [] for node in seen.batches}
    waits = [f"volume default-data-queue-{n} is still attached to node {at}" for n in range(2) for at in seen.batches]
    assert not set(waits).isdisjoint(seen.told.said), seen.told.said
    detached = [e["user"]["username"] for e in audited(seen.ground, "delete", "volumeattachments")]
    assert detached == ["kube-controller-manager"] * 2


def test_a_pod_with_a_zonal_volume_comes_back_in_its_zone_with_its_volume(seen: Seen) -> None:
    volumes = {volume.metadata.name: volume for volume in seen.core.list_persistent_volume().items}
    nodes = {node.metadata.name: node for node in seen.core.list_node().items}
    zones = set()
    for number in range(2):
        pod = seen.core.read_namespaced_pod(f"queue-{number}", "default")
        assert pod.metadata.uid != seen.before[pod.metadata.name].metadata.uid
        assert [c.status for c in pod.status.conditions if c.type == "Ready"] == ["True"]
        (term,) = volumes[f"default-data-queue-{number}"].spec.node_affinity.required.node_selector_terms
        zone = nodes[pod.spec.node_name].metadata.labels[ZONE]
        assert term.match_expressions[0].values == [zone]
        zones.add(zone)
    assert len(zones) == 2


def test_nodes_under_one_tight_budget_are_never_in_flight_together_and_strangers_are(seen: Seen) -> None:
    neighbours = seen.nodes_of("queue")
    flights = {node: seen.told.flight(batch) for node, batch in seen.batches.items()}
    assert len(neighbours) == 2
    first, second = sorted(flights[node] for node in neighbours)
    assert first[1] <= second[0]
    strangers = [flight for node, flight in flights.items() if node not in neighbours]
    assert any(a[0] < b[1] and b[0] < a[1] for a, b in combinations([first, *strangers], 2)), flights
    assert any(r.startswith("pdb default/queue allows 1 at once now: node ") for r in seen.told.said)


def test_a_single_replica_gets_its_successor_first_and_is_never_evicted(seen: Seen) -> None:
    (old,) = (name for name in seen.before if name.startswith("solo-"))
    evicted = [e["objectRef"]["name"] for e in audited(seen.ground, "create", "pods/eviction")]
    assert evicted
    assert not [name for name in evicted if name.startswith("solo-")]
    assert any("leaves once its successor is Ready: Deployment default/solo" in r for r in seen.told.said)
    (new,) = seen.core.list_namespaced_pod("default", label_selector="app=solo").items
    assert new.metadata.name != old


def test_a_pod_that_asked_not_to_be_disrupted_for_a_while_is_evicted_after_it(seen: Seen) -> None:
    evictions = {e["objectRef"]["name"]: e for e in audited(seen.ground, "create", "pods/eviction")}
    assert len(seen.asked_s) == 2
    for name, asked_s in seen.asked_s.items():
        at = datetime.fromisoformat(evictions[name]["requestReceivedTimestamp"])
        assert (at - seen.before[name].status.start_time).total_seconds() >= asked_s
        assert any(f"({ASK}: {asked_s}s) until 20" in reason for reason in seen.told.said), seen.told.said
