"""Whatever a person gets wrong: one message with object, file and remedy, and nothing is touched."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from kubernetes import client
from kubernetes.config import new_client_from_config

from node_rotation.cli import main
from node_rotation.drift import PROVIDER_ID
from proving_ground import ground, scenario
from proving_ground.aws import request_log

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(1500)]

ERROR, FOUND, BLOCKED = 1, 2, 3
_SIGNED = "https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id"
_LONG_AGO = f"{_SIGNED}&X-Amz-Date=20260101T000000Z&X-Amz-Credential=proving-ground%2F20260101"
EXPIRED = "k8s-aws-v1." + base64.urlsafe_b64encode(_LONG_AGO.encode()).decode().rstrip("=")
"""A token for an EKS cluster, as the IAM authenticator reads it, from months ago."""
READS = ("get", "list", "watch")
QUESTIONS = ("tokenreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews")
"""Created to be answered; they change nothing."""
SCENARIO: dict[str, Any] = {
    "name": "bad-input",
    "account": "310987650008",
    "timing": {"boot": "300ms", "shutdown": "300ms", "node_removal": "300ms", "reconcile": "100ms"},
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "base-2", "created": "2026-11-08T06:00:00.000Z"},
        {"name": "arm-2", "created": "2026-11-08T06:00:00.000Z", "architecture": "arm64"},
    ],
    "parameters": [
        {"name": "/images/base/current", "image": "base-2"},
        {"name": "/images/arm/current", "image": "arm-2"},
    ],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [
                {"name": "workers", "image": "base-1", "min": 1, "max": 4, "desired": 2, "tags": {"pool": "main"}},
                {"name": "full", "image": "base-1", "min": 1, "max": 1, "desired": 1},
            ],
            "workloads": [{"name": "web", "replicas": 2, "ready_after": "300ms", "stops_after": "300ms"}],
        }
    ],
}
Document = dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ground.Ground]:
    directory = tmp_path_factory.mktemp("bad-input")
    with ground.start(scenario.Scenario.model_validate(SCENARIO), directory) as running:
        yield running


@dataclass(frozen=True)
class Logs:
    """What AWS and the API server were asked to change, as their own logs have it."""

    world: ground.Ground

    def mutations(self) -> list[str]:
        aws = [f"{r.service}:{r.action}" for r in request_log.mutations(self.world.request_log)]
        return [*aws, *self._kubernetes()]

    def writes_to(self, node: str) -> list[str]:
        return [said for said, name in self._writes() if name == node]

    def _kubernetes(self) -> list[str]:
        return [said for said, _ in self._writes()]

    def _writes(self) -> Iterator[tuple[str, str]]:
        """Of everybody but the ground's own parts, so that a caller without a name counts as well."""
        for line in self.world.audit_log("dev").read_text().splitlines():
            event = json.loads(line)
            user, verb, what = event["user"].get("username", ""), event["verb"], event.get("objectRef") or {}
            resource = what.get("resource", "")
            ours = user in ("admin", "system:anonymous", "") or user.startswith("system:serviceaccount:default:")
            if ours and verb not in READS and resource not in QUESTIONS:
                yield f"{user}: {verb} {resource}", what.get("name", "")


@pytest.fixture
def untouched(world: ground.Ground) -> Iterator[Logs]:
    """Fails the story if anything was changed while it was told."""
    logs = Logs(world)
    before = logs.mutations()
    yield logs
    assert logs.mutations() == before


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line on stderr."""
        (line,) = self.err.strip().splitlines()
        assert line.startswith("node-rotation: ")
        assert "unexpected" not in line
        assert "Traceback" not in self.out
        return line


Cli = Callable[..., Ran]


@pytest.fixture
def fleet(world: ground.Ground) -> Document:
    """A fleet file without mistakes; each story makes one."""
    cluster = {
        "name": "dev",
        "aws": {"region": world.scenario.region},
        "kubernetes": {"kubeconfig": str(world.kubeconfig("dev"))},
        "groups": [{"name": "workers", "asg": "dev-workers"}, {"name": "full", "asg": "dev-full"}],
    }
    policy = {"image": {"ssm": "/images/base/current"}, "image_step": "launch_template", "gate": {"settle": "1s"}}
    return {"defaults": policy, "environments": [{"name": "dev", "clusters": [cluster]}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


@pytest.fixture
def cli(
    world: ground.Ground,
    fleet: Document,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    """The script's entry point, in this process: a hundred imports of boto3 would tell nothing more."""
    monkeypatch.setenv("HOME", str(file.parent))
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Ran:
        if not file.exists():
            file.write_text(yaml.safe_dump(fleet, sort_keys=False))
        capsys.readouterr()
        code = main(["--fleet", str(file), *arguments])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


def put(document: Document, path: str, value: Any) -> None:
    """Set ``a.0.b`` of a document; None as value takes it out."""
    *keys, last = (int(key) if key.isdigit() else key for key in path.split("."))
    here: Any = document
    for key in keys:
        here = here[key] if isinstance(key, int) else here.setdefault(key, {})
    if value is None:
        del here[last]
    else:
        here[last] = value


GROUPS = "environments.0.clusters.0.groups"
CLUSTER = "environments.0.clusters.0"


def test_the_check_sees_a_change_in_either_log(world: ground.Ground) -> None:
    logs = Logs(world)
    before = Counter(logs.mutations())
    session = boto3.Session(world.env["AWS_ACCESS_KEY_ID"], world.env["AWS_SECRET_ACCESS_KEY"])
    aws: Any = session.client("autoscaling", region_name=world.scenario.region, endpoint_url=world.endpoint)

    tag = {"ResourceId": "dev-full", "ResourceType": "auto-scaling-group", "Key": "seen", "Value": "yes"}
    aws.create_or_update_tags(Tags=[{**tag, "PropagateAtLaunch": False}])
    aws.describe_auto_scaling_groups()
    core = client.CoreV1Api(new_client_from_config(str(world.kubeconfig("dev")), persist_config=False))
    core.patch_namespace("default", {"metadata": {"annotations": {"seen": "yes"}}})
    core.list_node()

    seen = Counter(logs.mutations()) - before
    assert seen == {"autoscaling:CreateOrUpdateTags": 1, "admin: patch namespaces": 1}


@pytest.mark.parametrize(
    ("path", "value", "said", "remedy"),
    [
        ("defaults.budgt", {"max_surge": 2}, "defaults.budgt: there is no such setting", "'budget'"),
        (f"{GROUPS}.0.asgs", "x", "groups[workers].asgs: there is no such setting", "'asg'"),
        ("defaults.drain", {"timeout": 900}, "defaults.drain.timeout: 900 is not a duration", "such as 90s"),
        ("defaults.drain", {"timeout": "15 min"}, "'15 min' is not a duration", "such as 90s"),
        ("defaults.budget", {"max_surge": "half"}, "budget.max_surge: 'half' is neither", "percentage such as 25%"),
        ("defaults.canary", [], "defaults.canary: a list is not true or false", "docs/fleet.schema.json"),
        (f"{GROUPS}.1.asg", "dev-workers", "same Auto Scaling group twice: dev-workers", "docs/fleet.schema.json"),
        (f"{GROUPS}.1.name", "workers", "same node group twice: workers", "docs/fleet.schema.json"),
        ("defaults.budget", {"max_surge": 0}, "budget.max_surge: 0 leaves 0 slots", "at least 1"),
        (
            "defaults.image",
            {"ssm": "/x", "architecture": "sparc"},
            "image.architecture: 'sparc' is not one of x86_64, arm64",
            "E.g. architecture: x86_64",
        ),
        (
            f"{CLUSTER}.aws.region",
            "Frankfurt",
            "aws.region: 'Frankfurt' is not an AWS region",
            "E.g. region: eu-central-1",
        ),
        (CLUSTER.removesuffix(".0"), "dev", "environments[dev].clusters: 'dev' is not a list", "E.g. clusters: [{name"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_a_mistake_in_the_fleet_file_is_named_with_file_path_and_remedy(
    cli: Cli, fleet: Document, file: Path, path: str, value: Any, said: str, remedy: str
) -> None:
    put(fleet, path, value)

    ran = cli("rotate", "dev")

    assert (ran.code, ran.out) == (ERROR, "")
    assert f"{file}: " in ran.message
    assert said in ran.message
    assert remedy in ran.message


@pytest.mark.parametrize("text", [b"a: [1", b"\xff\xfe\x00"])
@pytest.mark.usefixtures("untouched")
def test_a_fleet_file_that_is_not_yaml_is_one_line(cli: Cli, file: Path, text: bytes) -> None:
    file.write_bytes(text)

    ran = cli("drift")

    assert ran.code == ERROR
    assert f"{file}: is not YAML: " in ran.message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rotate", "prod"), "{file}: cluster: there is no cluster 'prod' in the fleet. Known: dev.dev."),
        (("drift", "dev.prod"), "there is no cluster 'dev.prod' in the fleet. Did you mean 'dev.dev'? Known: dev.dev."),
        (("rotate", "dev", "-g", "gpu"), "--group: dev.dev has no node group 'gpu'. Known: workers, full."),
        (("rotate", "dev", "--role", "control-plane"), "no node group of role control-plane"),
        (("rotate", "dev", "--max-surge", "0"), "run parameters: budget.max_surge: 0 leaves 0 slots"),
        (("rotate", "dev", "--max-surge", "0%"), "Set it to at least 1"),
        (
            ("rotate", "dev", "--set", "drain.timout=5m"),
            "drain.timout: there is no such setting. Did you mean 'drain.tim",
        ),
        (("rotate", "dev", "--image", "base-2"), "run parameters: image.id: "),
        (("rotate", "dev", "--plan", "/nowhere.json"), "/nowhere.json: can't be read: No such file or directory. Give"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_what_was_typed_wrong_is_answered_with_what_there_is(
    cli: Cli, file: Path, arguments: tuple[str, ...], said: str
) -> None:
    ran = cli(*arguments)

    assert (ran.code, ran.out) == (ERROR, "")
    assert said.format(file=file) in ran.message


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({"asg": "gone"}, "node group full: there is no Auto Scaling group 'gone' in eu-central-1. Correct its asg"),
        ({"asg_tags": {"pool": "none"}}, "node group full: 0 Auto Scaling groups carry the tags pool=none. Give tags"),
        ({"asg_tags": {"pool": "main"}}, "node groups workers and full: both are the Auto Scaling group 'dev-workers'"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_groups_that_only_aws_can_tell_apart(cli: Cli, fleet: Document, file: Path, group: Document, said: str) -> None:
    put(fleet, f"{GROUPS}.1", {"name": "full", **group})

    ran = cli("rotate", "dev")

    assert (ran.code, ran.out) == (ERROR, "")
    assert f"{file}: dev.dev: {said}" in ran.message


@pytest.mark.parametrize(
    ("policy", "arguments", "said", "remedy"),
    [
        ({"raise_max_size": False}, ["-g", "full"], "surge is impossible: dev-full has max size 1", "strategy: detach"),
        ({}, ["--image", "ami-0123456789abcdef0"], "image ami-0123456789abcdef0 (pinned) does not exist", "share the"),
        ({"image": {"ssm": "/images/gone"}}, [], "there is no SSM parameter /images/gone", "correct image.ssm"),
        ({"image": {"owner": "self", "name": "bsae-*"}}, [], "no image matches owner self, name bsae-*", "correct"),
        ({"image": {"ssm": "/images/arm/current"}}, ["-g", "workers"], "is for arm64, the machines of", "for x86_64"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_what_can_not_be_done_is_refused_with_object_and_remedy(
    cli: Cli, fleet: Document, policy: Document, arguments: list[str], said: str, remedy: str
) -> None:
    for key, value in policy.items():
        put(fleet, f"defaults.{key}", value)

    rotated, planned = cli("rotate", "dev", *arguments), cli("plan", "dev", *arguments)

    assert rotated.code == planned.code == BLOCKED
    assert said in rotated.message
    assert remedy in rotated.message.partition("Remedy: ")[2]
    assert "group full" in rotated.message or "group workers" in rotated.message or "ssm /images" in rotated.message
    assert "blocked: " not in rotated.out
    assert planned.err == ""
    assert planned.out.count("blocked: ") == 1
    assert said in planned.out
    assert "nothing to do" not in rotated.out + planned.out


@pytest.mark.parametrize(
    ("key", "said", "remedy"),
    [
        ("expired", "The security token included in the request is expired (ExpiredToken)", "Renew the credentials"),
        ("invalid", "(InvalidClientTokenId)", "Renew the credentials"),
        (None, "no AWS credentials: ", "Give the AWS connection credentials"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_aws_credentials_that_are_no_good(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str | None, said: str, remedy: str
) -> None:
    if key:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    else:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    ran = cli("rotate", "dev")

    assert (ran.code, ran.out) == (BLOCKED, "")
    assert said in ran.message
    assert "dev-workers" in ran.message
    assert remedy in ran.message.partition("Remedy: ")[2]


@pytest.mark.usefixtures("untouched")
def test_a_profile_that_nobody_wrote(cli: Cli, fleet: Document) -> None:
    put(fleet, f"{CLUSTER}.aws.profile", "gone")

    ran = cli("rotate", "dev")

    assert (ran.code, ran.out) == (BLOCKED, "")
    assert "The config profile (gone) could not be found (cluster dev.dev)." in ran.message
    assert "Correct aws.profile" in ran.message.partition("Remedy: ")[2]


@dataclass(frozen=True)
class Access:
    """A kubeconfig with one mistake, and what is said to it."""

    path: str
    value: Any
    code: int
    said: str
    remedy: str


@pytest.mark.parametrize(
    "access",
    [
        Access(
            "clusters.0.cluster.server", "https://127.0.0.1:9", ERROR, "API server https://127.0.0.1:9 can't be", "VPN"
        ),
        Access("users.0.user", {"token": EXPIRED}, BLOCKED, "does not accept our credentials", "Renew the token"),
        Access("users.0.user", {}, BLOCKED, "no Kubernetes credentials: ", "a token, a client certificate or an exec"),
        Access("clusters.0.cluster.certificate-authority", None, BLOCKED, "is not trusted", "authority"),
        Access("current-context", "prod", ERROR, "can't be used: Invalid kube-config file", "kubernetes.context"),
    ],
    ids=lambda access: access.said,
)
@pytest.mark.usefixtures("untouched")
def test_an_api_server_that_does_not_answer_us(
    cli: Cli, world: ground.Ground, fleet: Document, tmp_path: Path, access: Access
) -> None:
    kubeconfig = yaml.safe_load(world.kubeconfig("dev").read_text())
    put(kubeconfig, access.path, access.value)
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    put(fleet, f"{CLUSTER}.kubernetes.kubeconfig", str(tmp_path / "kubeconfig"))

    for command in ("drift", "rotate"):
        ran = cli(command, "dev")

        assert (ran.code, ran.out) == (access.code, "")
        assert access.said in ran.message
        assert EXPIRED not in ran.message
        assert access.remedy in ran.message.partition(access.said)[2]


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ({"kubeconfig": "/nowhere"}, "kubernetes.kubeconfig of cluster dev.dev: there is no file /nowhere. Give"),
        ({"kubeconfig": "${NOWHERE}/kubeconfig"}, "names an environment variable that is not set. Set it, or name"),
        ({"eks_cluster": "gone"}, "kubernetes.eks_cluster: there is no EKS cluster 'gone' in eu-"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_a_cluster_that_can_not_be_found(cli: Cli, fleet: Document, file: Path, access: Document, said: str) -> None:
    put(fleet, f"{CLUSTER}.kubernetes", access)

    ran = cli("rotate", "dev")

    assert (ran.code, ran.out) == (ERROR, "")
    assert f"{file}: " in ran.message
    assert said in ran.message


@pytest.mark.usefixtures("untouched")
def test_a_kubeconfig_that_is_not_yaml_is_one_line(cli: Cli, fleet: Document, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("clusters: [")
    put(fleet, f"{CLUSTER}.kubernetes.kubeconfig", str(tmp_path / "kubeconfig"))

    ran = cli("rotate", "dev")

    assert ran.code == ERROR
    assert f"{tmp_path / 'kubeconfig'} can't be used: " in ran.message


@pytest.mark.usefixtures("untouched")
def test_a_plan_of_a_newer_schema_is_refused(cli: Cli, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    planned = cli("-o", "json", "plan", "dev")
    assert planned.code == FOUND
    plan.write_text(json.dumps({**json.loads(planned.out), "schema_version": 99, "from_the_future": True}))

    ran = cli("rotate", "dev", "--plan", str(plan))

    assert (ran.code, ran.out) == (ERROR, "")
    assert f"{plan}: schema_version: this plan has schema 99" in ran.message
    assert "Upgrade node-rotation, or make the plan again" in ran.message


@pytest.mark.usefixtures("untouched")
def test_a_plan_that_was_tampered_with_is_refused(cli: Cli, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    planned = json.loads(cli("-o", "json", "plan", "dev").out)
    plan.write_text(json.dumps({**planned, "slots": "many"}))

    ran = cli("rotate", "dev", "--plan", str(plan))

    assert (ran.code, ran.out) == (ERROR, "")
    assert f"{plan}: slots: " in ran.message
    assert "docs/plan.schema.json" in ran.message


def test_halves_of_machines_are_named_and_left_alone(world: ground.Ground, cli: Cli) -> None:
    core = client.CoreV1Api(new_client_from_config(str(world.kubeconfig("dev")), persist_config=False))
    core.create_node({"metadata": {"name": "by-hand"}, "spec": {}})
    widow = min(core.list_node().items, key=lambda node: (node.spec.provider_id or "z", node.metadata.name))
    machine = widow.spec.provider_id.rpartition("/")[2]
    core.delete_node(widow.metadata.name)
    logs = Logs(world)
    before = logs.mutations()

    drift, plan = cli("drift", "dev"), cli("-o", "json", "plan", "dev")

    lonely = f"node by-hand has no providerID: no machine can be found for it, and it is left alone. {PROVIDER_ID}"
    assert f"note: {lonely}" in drift.out
    assert f"note: machine {machine} of dev-" in drift.out
    assert "has no Node" in drift.out
    assert lonely in json.loads(plan.out)["notes"]
    planned = {m["node"]: m["instance_id"] for b in json.loads(plan.out)["batches"] for m in b["machines"]}
    assert "by-hand" not in planned
    assert planned.get(None, machine) == machine
    assert logs.mutations() == before
    assert "by-hand" in {node.metadata.name for node in core.list_node().items}
    core.delete_node("by-hand")


def test_the_script_itself_says_it_once_and_exits_so(world: ground.Ground, file: Path, fleet: Document) -> None:
    """In a process of its own, as a pipeline runs it; all at once, for starting Python is what takes the time."""
    file.write_text(yaml.safe_dump(fleet))
    logs = Logs(world)
    before = logs.mutations()
    wanted = {
        ("rotate", "prod"): (ERROR, "there is no cluster 'prod'"),
        ("rotate", "dev", "-g", "full", "--set", "raise_max_size=false"): (BLOCKED, "surge is impossible"),
        ("rotate", "dev", "--set", "drain.timeout=5"): (ERROR, "is not a duration"),
    }
    started = {
        arguments: subprocess.Popen(
            [sys.executable, "-m", "node_rotation.cli", "--fleet", str(file), *arguments],
            env={**world.env, "PYTHONPATH": str(Path(__file__).parents[2] / "include"), "HOME": str(file.parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in wanted
    }
    deadline = time.monotonic() + 120
    try:
        for arguments, process in started.items():
            out, err = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
            code, said = wanted[arguments]
            assert process.returncode == code, err
            assert said in Ran(code, out, err).message
    finally:
        for process in started.values():
            process.kill()
            process.wait(timeout=10)
    assert logs.mutations() == before


def test_a_rotation_leaves_a_node_without_machine_alone(world: ground.Ground, cli: Cli) -> None:
    core = client.CoreV1Api(new_client_from_config(str(world.kubeconfig("dev")), persist_config=False))
    core.create_node({"metadata": {"name": "nobodys"}, "spec": {}})
    logs = Logs(world)
    before = logs.writes_to("nobodys")

    rotated = cli("rotate", "dev", "-g", "workers")

    assert rotated.code == 0, rotated.out + rotated.err
    assert "admin: patch nodes" in logs.mutations()
    assert logs.writes_to("nobodys") == before
    left = core.read_node("nobodys")
    assert not left.spec.unschedulable
    assert not any(taint.key.startswith("node-rotation") for taint in left.spec.taints or [])
