"""What a batch has taken from a workload, as its claim and the world tell it."""

from __future__ import annotations

from tests.node_rotation.builders import Machine, pod, world

from node_rotation.ledger import Claim
from node_rotation.model import Strategy
from node_rotation.steps.taken import Taken, counted, lacking, missed
from node_rotation.world.kubernetes import Pod, Workload
from node_rotation.world.snapshot import Snapshot

API = "Deployment shop/api"


def api(desired: int = 9, ready: int = 6) -> Workload:
    return Workload("Deployment", "shop", "api", "uid", desired, ready)


def seen(*pods: Pod) -> Snapshot:
    return world({"dev-workers": [Machine("i-old"), Machine("i-other")]}, pods=pods)


def test_a_pod_that_is_not_ready_when_a_drain_begins_is_missed_already() -> None:
    pods = [pod("api-1", "node-i-old"), pod("api-2", "node-i-old", ready=False), pod("alone", "node-i-old", owner=None)]
    assert counted(pods, [api()]) == Taken((API,), (1,))


def test_pods_that_are_still_there_and_ready_are_not_missed() -> None:
    claim = Claim(batch="workers/2", group="workers", machines=("i-old",), strategy=Strategy.SURGE, since=0.0)
    claim = claim.model_copy(update={"evicted": (API,), "serving": (3,)})
    there = pod("api-1", "node-i-old")
    leaving = pod("api-2", "node-i-old", terminating_since=1.0)
    elsewhere = pod("api-3", "node-i-other")
    assert missed([claim], seen(there, leaving, elsewhere), API) == 2
    assert missed([claim], seen(), API) == 3
    assert missed([claim], seen(), "Deployment shop/web") == 0


def test_a_claim_of_an_older_version_explains_nothing() -> None:
    claim = Claim(batch="workers/2", group="workers", machines=("i-old",), strategy=Strategy.SURGE, since=0.0)
    assert missed([claim.model_copy(update={"evicted": (API,)})], seen(), API) == 0


def test_what_was_lacking_before_the_run_is_not_lacking_now() -> None:
    assert lacking(api(9, 6), None) == 3
    assert lacking(api(9, 6), (7, 9)) == 1
