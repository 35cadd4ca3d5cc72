"""docs/iam-policy.json, held to: with it everything works, without a part of it what fails says what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.proving_ground.releases import IMAGES, NEW, OLD, PARAMETERS
from tests.proving_ground.waiting import eventually

from node_rotation import detect, engine, fleet
from node_rotation.checkup.rights import LAUNCHES
from node_rotation.cli import main
from node_rotation.clients.connect import connect
from node_rotation.clients.wall import WallClock
from node_rotation.errors import BlockedError
from node_rotation.planning import make_plan
from proving_ground.aws import request_log
from proving_ground.aws.demands import PREFIXES
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

pytestmark = [
    pytest.mark.proving_ground,
    # moto's models don't list the errors that are common to all services.
    pytest.mark.filterwarnings(r"ignore:Exception\(AwsError\) with code:UserWarning"),
]

ACCOUNT = "510987650009"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/node-rotation"
PUBLISHED = Path(__file__).parents[2] / "docs" / "iam-policy.json"
OURS = {"image": "base-1", "min": 1, "max": 3, "desired": 1, "zones": ["a"]}
SCENARIO: dict[str, Any] = {
    "name": "policy",
    "account": ACCOUNT,
    "timing": {"boot": "300ms", "shutdown": "300ms", "node_removal": "300ms", "reconcile": "100ms"}
    | {"eks_pause": "300ms", "eks_look": "200ms", "eks_eviction": "60s", "eks_nodes": "60s"},
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "base-2", "created": "2026-11-08T06:00:00.000Z"},
        *IMAGES,
    ],
    "parameters": [{"name": "/images/base/current", "image": "base-2"}, *PARAMETERS],
    "target_groups": [{"name": "dev-web", "deregistration_delay": "1s", "healthy_after": "300ms"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "kind": "eks",
            "groups": [
                {"name": "detached", **OURS},
                {"name": "surging", **OURS, "version": "1", "target_groups": ["dev-web"]},
                {"name": "stopping", **OURS, "min": 0, "version": "$Default"},
                {"name": "managed", **OURS, "kind": "eks-managed", "image": OLD},
                {"name": "empty", **OURS, "template": "launch_configuration", "min": 0, "desired": 0},
            ],
        }
    ],
}
STRATEGIES = {"detached": "detach", "surging": "surge", "stopping": "terminate_first"}
POLICY: dict[str, Any] = {
    "image": {"ssm": "/images/base/current"},
    "image_step": "launch_template",
    "canary": False,
    "gate": {"settle": "0s", "timeout": "60s"},
    "poll": "1s",
    "lock_duration": "6s",
}
NOT_CALLED = {
    "ec2:RunInstances",
    "iam:PassRole",  # what Auto Scaling checks, tests/proving_ground/aws/test_identities.py
    "ssm:GetParameters",  # what EC2 asks if a template says resolve:ssm:
}


class DiedError(BaseException):
    """The process is gone: nothing is put back."""


def published(*without: str) -> dict[str, Any]:
    """The policy with its placeholders filled as docs/connections.md says, less the statements of these names."""
    text = PUBLISHED.read_text()
    filled = {"ACCOUNT": ACCOUNT, "CLUSTER": "dev", "NODE_ROLE": "nodes", "TARGET_GROUPS": "dev-*"}
    for placeholder, value in filled.items():
        text = text.replace(placeholder, value)
    document = json.loads(text)
    kept = [statement for statement in document["Statement"] if statement["Sid"] not in without]
    assert len(kept) == len(document["Statement"]) - len(without), without
    return {**document, "Statement": kept}


def actions(statement: Mapping[str, Any]) -> list[str]:
    said = statement["Action"]
    return [said] if isinstance(said, str) else list(said)


def use_a_template_that_needs_every_right(ground: Ground) -> None:
    """The surging group's machines get tags at launch, and the nodes' role."""
    tags = [{"ResourceType": kind, "Tags": [{"Key": "team", "Value": "a"}]} for kind in ("instance", "volume")]
    data = {"IamInstanceProfile": {"Name": "eks-0abc"}, "TagSpecifications": tags}
    template = {"LaunchTemplateName": "dev-surging"}
    ec2, scaling = ground.aws.client("ec2"), ground.aws.client("autoscaling")
    ec2.create_launch_template_version(**template, SourceVersion="1", LaunchTemplateData=data)
    scaling.update_auto_scaling_group(AutoScalingGroupName="dev-surging", LaunchTemplate={**template, "Version": "2"})


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with start(Scenario.model_validate(SCENARIO), tmp_path_factory.mktemp("policy")) as running:
        iam = running.aws.client("iam")
        for role in ("node-rotation", "nodes"):
            trust = {"Version": "2012-10-17", "Statement": []}
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
        iam.create_instance_profile(InstanceProfileName="eks-0abc")
        iam.add_role_to_instance_profile(InstanceProfileName="eks-0abc", RoleName="nodes")
        use_a_template_that_needs_every_right(running)
        yield running


@pytest.fixture
def hold(ground: Ground) -> Callable[[Mapping[str, Any]], None]:
    """Give the role another policy instead of the published one."""

    def put(document: Mapping[str, Any]) -> None:
        ground.aws.client("iam").put_role_policy(
            RoleName="node-rotation", PolicyName="node-rotation", PolicyDocument=json.dumps(document)
        )

    put(published())
    return put


@pytest.fixture
def file(ground: Ground, hold: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fleet file, and a profile that assumes the role: docs/connections.md."""
    for name, value in ground.env.items():
        monkeypatch.setenv(name, value)
    keys = {name: ground.env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    said = "".join(f"{name.lower()} = {value}\n" for name, value in keys.items())
    (tmp_path / "credentials").write_text(f"[default]\n{said}")
    (tmp_path / "config").write_text(f"[profile rotation]\nrole_arn = {ROLE}\nsource_profile = default\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    managed: dict[str, Any] = {"name": "managed", "kind": "eks-managed", "eks_cluster": "dev", "nodegroup": "managed"}
    managed["policy"] = {"image": {"template": True}}
    ours = [{"name": n, "asg": f"dev-{n}", "policy": {"strategy": s}} for n, s in STRATEGIES.items()]
    cluster = {
        "name": "dev",
        "aws": {"region": ground.scenario.region, "profile": "rotation"},
        "kubernetes": {"eks_cluster": "dev"},
        "groups": [*ours, managed, {"name": "empty", "asg": "dev-empty", "policy": {"image_step": "external"}}],
        "policy": POLICY,
    }
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({"environments": [{"name": "dev", "clusters": [cluster]}]}))
    return path


def images(ground: Ground, group: str) -> set[str]:
    world = ground.aws.world
    with world.lock:
        return {str(world.images.record(m.blueprint.image_id).name) for m in world.autoscaling.group(group).live()}


def die_once_detached(file: Path) -> None:
    """A rotation whose process dies when its machine is out of the group, and its replacement is not yet used."""
    settings, clock = fleet.load(file).settings("dev"), WallClock()
    cloud, cluster = connect(settings)
    seen = detect.observe(settings, cloud, cluster, clock)
    drift = detect.detect(settings, "detached", cloud, cluster, clock, snapshot=seen)
    plan = make_plan(settings, [drift], seen, clock.now())

    def die(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "drain":
            raise DiedError

    with pytest.raises(DiedError):
        engine.rotate(detect.make_run("dead", plan, settings, cloud, cluster, clock), die)


def findings(file: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    main(["--fleet", str(file), "--output", "json", "doctor"])
    return list(json.loads(capsys.readouterr().out)["findings"])


def test_the_doctor_finds_nothing_missing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert findings(file, capsys) == []


def test_an_image_is_frozen_and_its_freeze_is_lifted(
    ground: Ground, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = ground.aws.world.images.find("base-2")
    assert main(["--fleet", str(file), "freeze", image, "--reason", "told"]) == 0
    assert main(["--fleet", str(file), "unfreeze", image, "--reason", "a mistake"]) == 0
    assert "lifted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("missing", "group", "told"),
    [
        ("RollTheGroupsOfThisCluster", "detached", "autoscaling:CreateOrUpdateTags of dev-detached"),
        ("OnlyForTheImageStepLaunchTemplate", "stopping", "ec2:CreateLaunchTemplateVersion of launch template"),
        *((sid, "surging", "autoscaling:UpdateAutoScalingGroup of dev-surging") for sid, _ in LAUNCHES.values()),
    ],
)
def test_a_rotation_says_which_right_is_missing_on_what(
    file: Path,
    hold: Callable[[Mapping[str, Any]], None],
    capsys: pytest.CaptureFixture[str],
    missing: str,
    group: str,
    told: str,
) -> None:
    hold(published(missing))
    assert main(["--fleet", str(file), "rotate", "dev", "--group", group]) != 0
    said = "".join(capsys.readouterr())
    assert f"blocked: not allowed: {told}" in said
    assert (missing in said) is missing.startswith("AwsChecksWhoMay"), "AWS names only the template"


def test_the_doctor_says_everything_that_is_missing(
    file: Path, hold: Callable[[Mapping[str, Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    missing = {
        "RecordAndReadFrozenImages": ("ssm:PutParameter", "parameters /node-rotation/frozen"),
        "RollTheGroupsOfThisCluster": ("autoscaling:TerminateInstanceInAutoScalingGroup", "group detached"),
        "RollTheManagedGroupsOfThisCluster": ("eks:UpdateNodegroupVersion", "group managed"),
        "TerminateAndMarkMachinesOfThisCluster": ("ec2:TerminateInstances", "group stopping"),
        "OnlyForGroupsBehindTargetGroups": ("elasticloadbalancing:DeregisterTargets", "group surging"),
        "OnlyForTheImageStepLaunchTemplate": ("ec2:ModifyLaunchTemplate", "group stopping"),
    } | {sid: (action, "group surging: launch template dev-surging") for action, (sid, _) in LAUNCHES.items()}
    hold(published(*missing))
    found = findings(file, capsys)
    for statement, (action, object_) in missing.items():
        assert any(action in f["what"] and f["object"] == object_ for f in found), f"{statement}: {found}"


def test_a_machine_of_another_cluster_stays(ground: Ground, file: Path) -> None:
    owner = ground.aws.client("ec2")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "kubernetes.io/cluster/other", "Value": "owned"}]}]
    image = ground.aws.world.images.find("base-1")
    (theirs,) = owner.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)["Instances"]
    cloud, _ = connect(fleet.load(file).settings("dev"))
    with pytest.raises(BlockedError, match=f"not allowed: ec2:TerminateInstances of {theirs['InstanceId']}"):
        cloud.terminate(theirs["InstanceId"])


def test_what_a_dead_run_left_is_swept(ground: Ground, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (old,) = ground.aws.world.autoscaling.group("dev-detached").members
    die_once_detached(file)
    assert old not in ground.aws.world.autoscaling.group("dev-detached").members

    def swept() -> bool:
        main(["--fleet", str(file), "--output", "json", "sweep", "dev"])
        (told,) = json.loads(capsys.readouterr().out)["clusters"]
        return not told["held_by"] and not told["left"]

    eventually(swept, within_s=60, every_s=1)
    group = ground.aws.world.autoscaling.group("dev-detached")
    assert set(group.members) == {old}, "the detached machine is back"
    assert (group.min_size, group.max_size, group.desired, dict(group.suspended)) == (1, 3, 1, {})


def test_traffic_is_taken_from_a_machine_and_given_back(ground: Ground, file: Path) -> None:
    cloud, _ = connect(fleet.load(file).settings("dev"))
    group = cloud.groups(["dev-surging"])["dev-surging"]
    (arn,), (member,) = group.target_groups, group.members
    cloud.deregister_targets(arn, {member.instance_id: ()})
    cloud.register_targets(arn, {member.instance_id: ()})
    eventually(lambda: ground.aws.world.targets.healthy(arn) == {member.instance_id})


def test_every_strategy_works_with_no_more_than_the_policy(
    ground: Ground, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--fleet", str(file), "rotate", "dev"])

    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    assert {name: images(ground, f"dev-{name}") for name in STRATEGIES} == dict.fromkeys(STRATEGIES, {"base-2"})
    assert images(ground, "dev-managed") == {NEW}


def test_nothing_of_the_policy_is_left_unused(ground: Ground) -> None:
    """By the stories above, which come before this one: what none of them needs could be left out."""
    made = [one for one in request_log.read(ground.request_log) if one.access_key.startswith("ASIA")]
    used = {f"{PREFIXES.get(one.service, one.service)}:{one.action}" for one in made}
    granted = {action for s in published()["Statement"] for action in actions(s)}
    assert granted - used == NOT_CALLED
