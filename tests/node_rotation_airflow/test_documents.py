"""What tasks hand to each other reads back as it was."""

from __future__ import annotations

import json

import pytest

from node_rotation.fleet import Fleet
from node_rotation.outcome import Blocked
from node_rotation_airflow.documents import Cause, Request, Span

WORKERS = {"name": "workers", "asg": "dev-workers", "policy": {"strategy": "detach"}}
APPS = {"name": "apps", "kind": "eks-managed", "eks_cluster": "dev", "nodegroup": "apps"}


@pytest.mark.parametrize("group", [WORKERS, APPS], ids=["self-managed", "eks-managed"])
def test_a_request_is_the_same_after_it_went_through_xcom(group: dict[str, object]) -> None:
    cluster = {"name": "dev", "aws": {"region": "eu-central-1"}, "groups": [group], "policy": {"poll": "5s"}}
    fleet = Fleet.model_validate({"environments": [{"name": "dev", "clusters": [cluster]}]})
    request = Request(settings=fleet.settings("dev"), groups=(str(group["name"]),))

    known = Request.read(json.loads(json.dumps(request.dump())))

    assert known == request
    assert known.settings.cluster.policy.model_fields_set == {"poll"}


def test_a_cause_is_the_same_after_it_went_through_xcom() -> None:
    blocked = Blocked("a budget allows nothing", ("pod shop/a", "pdb shop/api"), "Wait.", image_fault=True)

    assert Cause.read(json.loads(json.dumps(Cause.of(blocked).dump()))).blocked() == blocked


def test_what_a_task_of_an_earlier_version_left_is_read() -> None:
    cause = Cause.read({"reason": "a budget allows nothing (pdb shop/api).", "image_fault": True})
    span = Span.read({"subject": "workers/1", "deed": "heal", "began": 1.0, "ended": 2.0})

    assert cause.blocked() == Blocked("a budget allows nothing (pdb shop/api).", image_fault=True)
    assert span.put_back == ()
