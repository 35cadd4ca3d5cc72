"""A kops control plane, as both worlds show it: what goes with a master, and what its replacement brings back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import boto3
import pytest
from kubernetes.config import new_client_from_config
from tests.node_rotation.masters import kops

from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.control_plane.values import ControlPlane, EtcdAccess
from node_rotation.errors import TransientError
from node_rotation.fleet import Fleet, Settings
from node_rotation.kops.discovery import discover
from node_rotation.model import Role
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.clients import Cloud, Cluster
from proving_ground import scenario
from proving_ground.ground import Ground, start

WITHIN_S = 90.0


@dataclass(frozen=True)
class World:
    """What a story needs of a kops cluster called ``prod``; ``until`` lets its time pass."""

    cloud: Cloud
    cluster: Cluster
    etcd: dict[str, EtcdAccess]
    until: Callable[[Callable[[], bool], float], bool]

    def state(self) -> ControlPlane | None:
        """What a look shows; None while the API server can't be reached."""
        try:
            return self.cluster.control_plane(self.etcd)
        except TransientError:
            return None

    def well(self) -> bool:
        state = self.state()
        return state is not None and state.ready and all(m.healthy for c in state.etcd for m in c.members)

    def master(self) -> ScalingGroup:
        settings = discover(_settings(), self.cloud)
        first = next(g for g in settings.cluster.groups if g.role is Role.CONTROL_PLANE)
        return self.cloud.groups([str(first.asg)])[str(first.asg)]


def _settings() -> Settings:
    cluster = {"name": "prod", "aws": {"region": "eu-central-1"}, "kops": {"cluster": "prod"}}
    return Fleet.model_validate({"environments": [{"name": "prod", "clusters": [cluster]}]}).settings("prod")


@pytest.fixture(params=["memory", pytest.param("ground", marks=pytest.mark.proving_ground)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "ground":
        found: World = request.getfixturevalue("kops_ground")
        assert found.until(found.well, WITHIN_S)
        return found
    memory = kops()
    endpoints = memory.etcd.endpoints()
    etcd = {name: EtcdAccess(endpoints=endpoints) for name in ("main", "events")}
    return World(memory.cloud, memory.cluster, etcd, memory.clock.run_until)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    told = scenario.load("kops")
    account = told.model_copy(update={"account": "410987650005"})
    with start(account, tmp_path_factory.mktemp("kops")) as running:
        yield running


@pytest.fixture(scope="module")
def kops_ground(ground: Ground) -> World:
    session = boto3.Session(
        aws_access_key_id=ground.env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ground.env["AWS_SECRET_ACCESS_KEY"],
        region_name=ground.env["AWS_REGION"],
    )
    with pytest.MonkeyPatch.context() as patch:  # the clients are made lazily, so the endpoint is read now
        patch.setenv("AWS_ENDPOINT_URL", ground.endpoint)
        cloud = AwsCloud(session, details_s=0)
        for service in ("autoscaling", "autoscaling_once", "ec2", "ec2_once", "ssm", "eks"):
            getattr(cloud._calls, service)
    written = json.loads((ground.directory / "prod" / "etcd.json").read_text())
    etcd = {name: EtcdAccess(endpoints=tuple(endpoints)) for name, endpoints in written.items()}
    api = new_client_from_config(str(ground.kubeconfig("prod")), persist_config=False)
    return World(cloud, KubernetesCluster(api), etcd, _poll)


def _poll(look: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if look():
            return True
        time.sleep(0.2)
    return False


def test_both_etcd_clusters_are_whole_and_the_api_server_is_ready(world: World) -> None:
    state = world.state()

    assert state is not None
    assert state.ready
    assert [c.name for c in state.etcd] == ["main", "events"]
    for cluster in state.etcd:
        assert [m.healthy for m in cluster.members] == [True] * 3
        assert len(cluster.voters) == 3


def test_an_endpoint_that_nobody_answers_is_not_healthy(world: World) -> None:
    state = world.cluster.control_plane({"main": EtcdAccess(endpoints=("http://127.0.0.1:9",))})

    assert state.ready
    assert not state.etcd[0].members[0].healthy


def test_a_kops_cluster_s_groups_are_found_by_their_tags(world: World) -> None:
    roles = [group.role for group in discover(_settings(), world.cloud).cluster.groups]

    assert roles == [Role.CONTROL_PLANE] * 3 + [Role.WORKER]


def test_a_master_takes_one_member_of_each_along_and_its_replacement_brings_them_back(world: World) -> None:
    group = world.master()
    (member,) = [m for m in group.members if m.lifecycle == "InService"]

    world.cloud.terminate_in_group(member.instance_id, decrement=False)

    def one_away() -> bool:
        state = world.state()
        return state is not None and [sum(m.healthy for m in c.members) for c in state.etcd] == [2, 2]

    assert world.until(one_away, WITHIN_S), world.state()
    assert world.until(world.well, WITHIN_S), world.state()
    now = world.cloud.groups([group.name])[group.name]
    (new,) = [m for m in now.members if m.lifecycle == "InService"]
    assert new.instance_id != member.instance_id
    assert (new.zone, now.desired) == (member.zone, 1)
