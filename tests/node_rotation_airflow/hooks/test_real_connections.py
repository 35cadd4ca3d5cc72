"""Airflow's connections against a real API server and an AWS: an assumed role, and EKS' tokens during a long run."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import botocore.auth
import pytest

from node_rotation import detect, engine
from node_rotation.clients import eks
from node_rotation.errors import BlockedError
from node_rotation.fleet import Fleet, Settings
from node_rotation.planning import make_plan
from node_rotation_airflow import runs
from node_rotation_airflow.hooks.cluster import ClusterHook
from proving_ground.aws import request_log
from proving_ground.aws.request_log import Request
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario
from proving_ground.tokens import LIFETIME

pytestmark = pytest.mark.proving_ground

ACCOUNT = "510987650007"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/node-rotation"
WORKER = "worker-key"
"""The identity to start from: a worker's own, which may do no more than assume the role."""
SCENARIO: dict[str, Any] = {
    "name": "connections",
    "account": ACCOUNT,
    "timing": {"boot": "300ms", "shutdown": "300ms", "node_removal": "300ms"},
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "base-2", "created": "2026-11-08T06:00:00.000Z"},
    ],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "kind": "eks",
            "groups": [{"name": "workers", "image": "base-1", "min": 1, "max": 2, "desired": 1}],
        }
    ],
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with start(Scenario.model_validate(SCENARIO), tmp_path_factory.mktemp("connections")) as running:
        yield running


@pytest.fixture(autouse=True)
def connection(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/connections.md has it. For STS to assume a role Airflow wants an endpoint of its own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    extra = {
        "role_arn": ROLE,
        "assume_role_kwargs": {"DurationSeconds": 900},
        "region_name": ground.scenario.region,
        "endpoint_url": ground.endpoint,
        "service_config": {"sts": {"endpoint_url": ground.endpoint}},
    }
    aws = {"conn_type": "aws", "login": WORKER, "password": "unused", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_ROLE", json.dumps(aws))
    monkeypatch.setenv("NO_PROXY", ground.env["NO_PROXY"])


@pytest.fixture
def settings(ground: Ground) -> Settings:
    cluster = {
        "name": "dev",
        "aws": {"region": ground.scenario.region, "connection": "aws_role"},
        "kubernetes": {"eks_cluster": "dev"},
        "groups": [{"name": "workers", "asg": "dev-workers"}],
        "policy": {
            "image": {"owner": "self", "name": "base-*"},
            "image_step": "launch_template",
            "canary": False,
            "gate": {"settle": "1s"},
            "poll": "1s",
        },
    }
    return Fleet.model_validate({"environments": [{"name": "dev", "clusters": [cluster]}]}).settings("dev")


def calls(ground: Ground) -> list[Request]:
    """What AWS was asked through the connection."""
    return [one for one in request_log.read(ground.request_log) if one.access_key.startswith(("ASIA", WORKER))]


def test_a_rotation_through_a_role_does_everything_as_that_role(ground: Ground, settings: Settings) -> None:
    cloud, cluster, clock = runs.connect(settings)
    seen = detect.observe(settings, cloud, cluster, clock)
    drift = detect.detect(settings, "workers", cloud, cluster, clock, snapshot=seen)
    plan = make_plan(settings, [drift], seen, clock.now())

    result = engine.rotate(detect.make_run("role", plan, settings, cloud, cluster, clock))

    assert result.ok, result
    assert result.passed == ("workers/1",)
    made = calls(ground)
    assert {(one.action, one.parameters.get("RoleArn")) for one in made if one.access_key == WORKER} == {
        ("AssumeRole", ROLE)
    }
    assert {one.access_key[:4] for one in made if one.mutating} == {"ASIA"}
    who = {json.loads(line)["user"]["username"] for line in ground.audit_log("dev").read_text().splitlines()}
    assert any(name.startswith(f"arn:aws:iam::{ACCOUNT}:user/ASIA") for name in who)
    assert not any(WORKER in name for name in who)


def test_the_role_is_assumed_again_before_its_session_ends(ground: Ground, settings: Settings) -> None:
    """It lasts a quarter of an hour here: what botocore renews from then on, so every look renews it."""
    cloud = runs.account(settings.cluster.aws)
    before = len(calls(ground))

    for _ in range(2):
        assert cloud.groups(["dev-workers"])

    assumed = [one for one in calls(ground)[before:] if one.action == "AssumeRole"]
    assert len(assumed) >= 2


def test_a_token_of_eks_that_grew_old_is_renewed_by_the_client_that_the_hook_makes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of hours in a quarter of a second: its first token was signed long ago."""
    now = [0.0]
    monkeypatch.setattr(eks, "EksToken", partial(eks.EksToken, monotonic=lambda: now[0]))
    with monkeypatch.context() as long_ago:
        then = (dt.datetime.now(dt.UTC) - LIFETIME).replace(tzinfo=None)
        long_ago.setattr(botocore.auth, "get_current_datetime", lambda **_: then)
        cluster = ClusterHook.of(settings).cluster()
    with pytest.raises(BlockedError, match="Renew the token"):
        cluster.nodes()

    now[0] = eks.REFRESH_AFTER_S

    assert cluster.nodes()
