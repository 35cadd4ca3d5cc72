"""What tasks hand to each other reads back as it was."""

from __future__ import annotations

import json

import pytest

from node_rotation.fleet import Fleet
from node_rotation_airflow.documents import Request

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
