"""Before the night: each thing that would stop a rotation is one finding, and looking changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.eks_world import OLD, nodegroup
from tests.node_rotation.eks_world import world as managed_world
from tests.node_rotation.soaking import soaking, told

from node_rotation.checkup.doctor import Check, Finding, Severity
from node_rotation.checkup.examine import Patient, examine
from node_rotation.checkup.rights import GROUP_CHANGES, LAUNCHES, MACHINE_CHANGES, NODEGROUP_ACTIONS, TEMPLATE_CHANGES
from node_rotation.errors import BlockedError, TransientError
from node_rotation.fleet import NodeGroup, Settings
from node_rotation.outcome import Blocked
from node_rotation.testing import seeds
from node_rotation.testing.checkup import MemoryAccess, MemoryAccount
from node_rotation.testing.world import MemoryWorld


def findings(
    world: MemoryWorld,
    account: MemoryAccount | None = None,
    access: MemoryAccess | None = None,
    settings: Settings | None = None,
    **policy: Any,
) -> tuple[Finding, ...]:
    before = len(world.mutations)
    found = examine(
        Patient(
            settings or world.settings(**policy),
            world.cloud,
            world.cluster,
            account or MemoryAccount(),
            access or MemoryAccess(),
            world.clock,
        )
    )
    assert len(world.mutations) == before
    return found


def only(found: tuple[Finding, ...]) -> Finding:
    (finding,) = found
    assert finding.remedy
    assert finding.object
    return finding


def test_a_cluster_that_is_well_has_no_findings() -> None:
    assert findings(MemoryWorld.simple(3, max_unavailable=1)) == ()


def test_it_looks_ahead_also_when_nothing_has_drifted() -> None:
    world = MemoryWorld.simple(2)
    pinned = {"image": {"id": world.image_id("base-old")}, "image_step": "launch_template"}
    world.add_workload(seeds.Workload("api", replicas=2, budget=seeds.DisruptionBudget(min_available=2)))
    world.clock.run_until(world.settled, 600.0)
    assert only(findings(world, **pinned)).check is Check.DISRUPTION_BUDGETS


def test_credentials_that_ended_are_one_finding_and_kubernetes_is_still_looked_at() -> None:
    refused = BlockedError(Blocked("AWS does not accept our credentials", ("the account",), "Renew them."))
    access = MemoryAccess({"create pods/eviction"})
    credentials, permission = findings(MemoryWorld.simple(2), MemoryAccount(refused=refused), access)
    assert (credentials.check, credentials.severity) == (Check.CREDENTIALS, Severity.BLOCKING)
    assert credentials.remedy == "Renew them."
    assert (permission.check, permission.object) == (Check.PERMISSIONS, "create pods/eviction")


def test_an_aws_that_does_not_answer_says_so() -> None:
    finding = only(findings(MemoryWorld.simple(2), MemoryAccount(refused=TransientError("sts is away"))))
    assert "sts is away" in finding.what
    assert "ask once more" in finding.remedy


def test_the_right_to_delete_pods_is_asked_only_for_policies_that_use_it() -> None:
    access = MemoryAccess({"delete pods"})
    assert findings(MemoryWorld.simple(2), access=access) == ()
    finding = only(findings(MemoryWorld.simple(2), access=access, drain={"force_after": "10m"}))
    assert finding.what == "may not delete pods"


def test_the_right_to_roll_deployments_is_asked_only_for_policies_that_use_it() -> None:
    access = MemoryAccess({"patch deployments"})
    assert findings(MemoryWorld.simple(2), access=access) == ()
    finding = only(findings(MemoryWorld.simple(2), access=access, drain={"roll_single_replicas": True}))
    assert finding.what == "may not patch deployments.apps"


def test_what_iam_denies_and_what_nobody_tells_are_told_apart() -> None:
    account = MemoryAccount(denied={"ec2:TerminateInstances"}, untold={"autoscaling:DetachInstances"})
    denied, unknown = findings(MemoryWorld.simple(2), account)
    assert (denied.severity, unknown.severity) == (Severity.BLOCKING, Severity.UNKNOWN)
    assert "ec2:TerminateInstances" in denied.what
    assert "iam:SimulatePrincipalPolicy" in unknown.remedy


def test_a_denied_change_may_as_well_be_for_want_of_the_cluster_s_tag_and_a_read_may_not() -> None:
    changed = only(findings(MemoryWorld.simple(2), MemoryAccount(denied={"ec2:CreateTags", "ec2:DescribeInstances"})))
    read = only(findings(MemoryWorld.simple(2), MemoryAccount(denied={"ec2:DescribeInstances"})))
    assert changed.remedy == (
        "Allow it in the IAM policy, see docs/iam-policy.json, and see that the group, its running machines and its "
        "launch template have the tag kubernetes.io/cluster/CLUSTER=owned."
    )
    assert read.remedy == "Allow it in the IAM policy, see docs/iam-policy.json."


def test_template_rights_are_asked_only_where_the_rotation_writes_templates() -> None:
    account = MemoryAccount(denied={"ec2:ModifyLaunchTemplate"})
    assert findings(MemoryWorld.simple(2), account) == ()
    assert (
        "ec2:ModifyLaunchTemplate" in only(findings(MemoryWorld.simple(2), account, image_step="launch_template")).what
    )


def numbered(version: str = "1", **parts: Any) -> MemoryWorld:
    """One group, whose template's version is this one."""
    groups = (seeds.Group(name="workers", image="base-old", max=4, desired=2, version=version, **parts),)
    images = (seeds.Image("base-old", "2026-11-01T06:00:00.000Z"),)
    return MemoryWorld(seeds.WorldSeed(groups=groups, images=images))


def test_what_auto_scaling_checks_for_launches_is_asked_where_the_rotation_names_a_version_by_number() -> None:
    account = MemoryAccount(denied={"ec2:RunInstances", "iam:PassRole"})
    finding = only(findings(numbered(), account, image_step="launch_template"))
    assert (finding.check, finding.severity) == (Check.PERMISSIONS, Severity.BLOCKING)
    assert finding.what == "may not ec2:RunInstances, iam:PassRole"
    assert finding.object == "group workers: launch template dev-workers"
    assert "AwsChecksWhoMayLaunch (ec2:RunInstances from launch templates)" in finding.remedy
    assert "AwsChecksWhoMayPassTheNodeRole (iam:PassRole" in finding.remedy
    assert LAUNCHES["ec2:CreateTags"][0] not in finding.remedy
    assert findings(numbered(), account) == ()
    for version in ("$Latest", "$Default"):  # Auto Scaling is told of no version, and checks nothing
        assert findings(numbered(version), account, image_step="launch_template") == ()
    configured = numbered(template="launch_configuration")
    assert findings(configured, account, image_step="launch_template") == findings(
        configured, image_step="launch_template"
    )


def test_a_node_role_that_nobody_tells_us_says_what_would_tell() -> None:
    account = MemoryAccount(untold={"iam:PassRole"})
    unknown = only(findings(numbered(), account, image_step="launch_template"))
    assert (unknown.severity, "iam:PassRole" in unknown.what) == (Severity.UNKNOWN, True)
    assert "iam:GetInstanceProfile" in unknown.remedy


def test_a_fleet_with_a_managed_group_that_is_well_has_no_findings() -> None:
    world = managed_world(nodegroup(max_unavailable=2), seeds.Group("mine", image=OLD, desired=2, max=3))
    assert findings(world) == ()


def test_of_a_managed_group_eks_rights_are_asked_and_no_change_of_its_machines() -> None:
    ours = {*GROUP_CHANGES, *MACHINE_CHANGES, *TEMPLATE_CHANGES}
    finding = only(findings(managed_world(), MemoryAccount(denied={*ours, *NODEGROUP_ACTIONS})))
    assert (finding.check, finding.severity, finding.object) == (Check.PERMISSIONS, Severity.BLOCKING, "group workers")
    assert finding.what == f"may not {', '.join(sorted(NODEGROUP_ACTIONS))}"
    assert "docs/iam-policy.json" in finding.remedy
    unknown = only(findings(managed_world(), MemoryAccount(untold={*ours, "eks:UpdateNodegroupVersion"})))
    assert (unknown.severity, "eks:UpdateNodegroupVersion" in unknown.what) == (Severity.UNKNOWN, True)
    assert findings(MemoryWorld.simple(2), MemoryAccount(denied=set(NODEGROUP_ACTIONS))) == ()


def test_of_a_managed_group_with_an_image_of_its_own_the_rights_to_launch_from_its_template_are_asked_too() -> None:
    """EKS is told a version of its owner's template; of AWS' own images it is told a release, and no template."""
    account = MemoryAccount(denied={"ec2:RunInstances"})
    group = nodegroup(max_unavailable=2, ami_type="CUSTOM")
    finding = only(findings(managed_world(group), account, image={"template": True}))
    assert (finding.check, finding.severity) == (Check.PERMISSIONS, Severity.BLOCKING)
    assert finding.object == "group workers: launch template dev-workers-user"
    assert finding.what == "may not ec2:RunInstances"
    assert findings(managed_world(nodegroup(max_unavailable=2)), account) == ()


def test_a_managed_group_that_is_not_there_is_named_and_its_rights_are_asked_all_the_same() -> None:
    world = managed_world()
    settings = world.settings()
    groups = (settings.cluster.groups[0].model_copy(update={"nodegroup": "nobody"}),)
    cluster = settings.cluster.model_copy(update={"groups": groups})
    settings = settings.model_copy(update={"cluster": cluster})
    finding = only(findings(world, settings=settings))
    assert (finding.check, finding.severity) == (Check.DISCOVERY, Severity.BLOCKING)
    assert "no managed node group 'dev/nobody'" in finding.what
    missing, denied = findings(world, MemoryAccount(denied={"eks:DescribeUpdate"}), settings=settings)
    assert (missing, denied.what) == (finding, "may not eks:DescribeUpdate")


def test_what_eks_adds_to_a_managed_group_has_to_fit() -> None:
    """Two machines per zone, whatever budget.max_surge says: EKS user guide, "managed node update behavior"."""
    world = managed_world()
    zones = len(world.cloud.groups([world.asg("workers")])[world.asg("workers")].zones)
    account = MemoryAccount(free=(1, 0), limit=12.0, used=12)
    addresses, quota = findings(world, account, budget={"max_surge": 1})
    assert addresses.what == f"1 free addresses for {2 * zones} machines at once"
    assert "MINIMAL" in addresses.remedy
    assert quota.what == f"12 of 12 vCPUs run already, a rotation needs {2 * zones * 2} more"
    assert findings(managed_world(nodegroup(update_strategy="MINIMAL")), account) == ()


def test_frozen_images_that_can_not_be_read_block_and_that_none_can_be_written_is_a_warning() -> None:
    unread = only(findings(MemoryWorld.simple(2), MemoryAccount(denied={"ssm:GetParametersByPath"})))
    assert (unread.severity, unread.object) == (Severity.BLOCKING, "parameters /node-rotation/frozen")
    unwritten = only(findings(MemoryWorld.simple(2), MemoryAccount(denied={"ssm:PutParameter"})))
    assert (unwritten.severity, unwritten.what) == (Severity.WARNING, "may not ssm:PutParameter")
    untold = only(findings(MemoryWorld.simple(2), MemoryAccount(untold={"ssm:PutParameter"})))
    assert untold.severity is Severity.UNKNOWN


def test_every_group_that_is_not_there_is_named_and_the_others_are_examined() -> None:
    world = MemoryWorld.simple(2)
    settings = world.settings()
    missing = tuple(NodeGroup(name=name, asg=f"no-{name}") for name in ("batch", "gpu"))
    cluster = settings.cluster.model_copy(update={"groups": (*settings.cluster.groups, *missing)})
    policies = {**settings.groups, "batch": settings.policy, "gpu": settings.policy}
    account = MemoryAccount(free=(0, 0))
    found = findings(world, account, settings=settings.model_copy(update={"cluster": cluster, "groups": policies}))
    assert [f.object for f in found if f.check is Check.DISCOVERY] == ["group batch", "group gpu"]
    assert [f.check for f in found if f.check is not Check.DISCOVERY] == [Check.SUBNETS]


def test_a_machine_without_node_is_named() -> None:
    world = MemoryWorld.simple(2)
    node = world.cluster.nodes()[0]
    world.cluster.remove_node(node.name, node.uid)
    finding = only(findings(world))
    assert (finding.check, finding.severity) == (Check.DISCOVERY, Severity.WARNING)
    assert node.instance_id in finding.object


def test_a_budget_that_can_never_allow_is_found_before_the_night() -> None:
    world = MemoryWorld.simple(2)
    world.add_workload(seeds.Workload("api", replicas=2, budget=seeds.DisruptionBudget(min_available=2)))
    world.clock.run_until(world.settled, 600.0)
    finding = only(findings(world))
    assert (finding.check, finding.severity) == (Check.DISRUPTION_BUDGETS, Severity.BLOCKING)
    assert "pdb default/api" in finding.object


def rolled_out(version: str = "$Latest", **parts: Any) -> MemoryWorld:
    """One group, whose machines and template are all on the image that the parameter names today."""
    group = seeds.Group(name="workers", image="base-old", max=4, desired=2, version=version, **parts)
    images = (seeds.Image("base-old", "2026-11-01T06:00:00.000Z"),)
    return MemoryWorld.of(groups=(group,), images=images, parameters=(seeds.Parameter("/image", "base-old"),))


ELSEWHERE: dict[str, Any] = {"image": {"ssm": "/image"}, "image_step": "launch_template"}


def test_a_launch_configuration_that_the_next_image_can_t_be_put_into_is_found_before_it_comes() -> None:
    world = rolled_out(template="launch_configuration")
    finding = only(findings(world, **ELSEWHERE))
    assert finding.what == "dev-workers uses launch configuration dev-workers, which can't be changed"
    assert findings(world, image={"ssm": "/image"}) == ()  # who puts it there, and how, is others' business
    assert findings(world, image={"template": True}, image_step="launch_template") == ()


def test_so_is_an_override_with_a_template_of_its_own() -> None:
    overrides = (seeds.Override("m5.large"), seeds.Override("m6i.large", version="1"))
    finding = only(findings(rolled_out(overrides=overrides), **ELSEWHERE))
    assert finding.severity is Severity.BLOCKING
    assert finding.what == (
        "an override of group workers launches from its own template dev-workers, version 1: the image step does not "
        "put the next image into it"
    )


def test_an_override_that_is_in_the_way_of_today_s_image_is_named_once() -> None:
    world = rolled_out(overrides=(seeds.Override("m6i.large", version="1"),))
    world.add_image(seeds.Image("base-new", created="2026-11-08T06:00:00Z"))
    world.cloud.put_parameter("/image", world.image_id("base-new"))
    assert "not the target" in only(findings(world, **ELSEWHERE)).what


def test_a_template_that_the_next_image_can_be_put_into_is_no_finding() -> None:
    assert findings(rolled_out(), **ELSEWHERE) == ()


def test_while_an_image_soaks_the_group_is_examined_all_the_same_and_the_soak_is_a_warning() -> None:
    world = MemoryWorld.simple(2)
    world.add_workload(seeds.Workload("api", replicas=2, budget=seeds.DisruptionBudget(min_available=2)))
    world.clock.run_until(world.settled, 600.0)
    account = MemoryAccount(free=(0, 0))
    soaks, pdb, addresses = findings(world, account, image={"template": True, "soak": "30d"})
    assert (soaks.check, soaks.severity, "soaks until" in soaks.what) == (Check.ROTATION, Severity.WARNING, True)
    assert (pdb.check, pdb.severity) == (Check.DISRUPTION_BUDGETS, Severity.BLOCKING)
    assert (addresses.check, addresses.severity) == (Check.SUBNETS, Severity.BLOCKING)


@pytest.mark.parametrize("gpus", [1, 0])
def test_beside_groups_that_can_be_rotated_the_soak_of_another_stays_a_warning_be_it_empty(gpus: int) -> None:
    world = soaking(gpus=gpus)
    soaks = only(findings(world, settings=told(world, image_step="launch_template")))
    assert (soaks.check, soaks.severity, "group gpu" in soaks.object) == (Check.ROTATION, Severity.WARNING, True)


def test_a_group_that_no_image_is_found_for_is_examined_all_the_same_and_that_blocks() -> None:
    missing, addresses = findings(MemoryWorld.simple(2), MemoryAccount(free=(0, 0)), image={"ssm": "/images/nobody"})
    assert (missing.check, missing.severity) == (Check.ROTATION, Severity.BLOCKING)
    assert "/images/nobody" in missing.what
    assert addresses.check is Check.SUBNETS


def test_so_is_a_managed_group_whose_image_soaks() -> None:
    soaks, quota = findings(managed_world(), MemoryAccount(limit=12.0, used=12), image={"soak": "365d"})
    assert (soaks.severity, quota.check) == (Severity.WARNING, Check.QUOTAS)


def test_surge_that_is_impossible_is_found() -> None:
    world = MemoryWorld.simple(2)
    world.cloud.set_sizes(world.asg("workers"), max=2)
    finding = only(findings(world, raise_max_size=False))
    assert finding.check is Check.ROTATION
    assert "surge is impossible" in finding.what


def test_subnets_without_addresses_block_and_a_full_one_warns() -> None:
    blocked = only(findings(MemoryWorld.simple(4), MemoryAccount(free=(1, 0)), budget={"max_surge": 2}))
    assert (blocked.check, blocked.severity) == (Check.SUBNETS, Severity.BLOCKING)
    assert blocked.what == "1 free addresses for 2 machines at once"
    warned = only(findings(MemoryWorld.simple(4), MemoryAccount(free=(9, 0)), budget={"max_surge": 2}))
    assert (warned.severity, "subnet-b" in warned.object) == (Severity.WARNING, True)


@pytest.mark.parametrize(("limit", "severity"), [(15.0, Severity.BLOCKING), (None, Severity.UNKNOWN)])
def test_quotas(limit: float | None, severity: Severity) -> None:
    account = MemoryAccount(limit=limit, used=12)
    finding = only(findings(MemoryWorld.simple(4), account, budget={"max_surge": 2}))
    assert (finding.check, finding.severity) == (Check.QUOTAS, severity)
    assert findings(MemoryWorld.simple(4), MemoryAccount(limit=16.0, used=12), budget={"max_surge": 2}) == ()


def several(*names: str) -> MemoryWorld:
    groups = [seeds.Group(name=name, image="base-old", min=1, max=9, desired=4) for name in names]
    images = (seeds.Image("base-old", "2026-11-01T06:00:00.000Z"),)
    return MemoryWorld(seeds.WorldSeed(groups=tuple(groups), images=images))


def test_groups_share_their_quota() -> None:
    finding = only(findings(several("a", "b"), MemoryAccount(limit=15.0, used=12)))
    assert finding.what == "12 of 15 vCPUs run already, a rotation needs 4 more"


def test_groups_share_their_subnets() -> None:
    finding = only(findings(several("a", "b", "c"), MemoryAccount(free=(2, 2)), budget={"max_surge": 2}))
    assert (finding.check, finding.severity) == (Check.SUBNETS, Severity.BLOCKING)
    assert finding.what == "4 free addresses for 6 machines at once"
    assert finding.object == "group a, group b, group c: subnet subnet-a, subnet subnet-b"
    assert "cluster_slots" in finding.remedy
    assert findings(several("a", "b", "c"), MemoryAccount(free=(3, 3)), budget={"max_surge": 2}) == ()


def test_no_more_machines_come_at_once_than_the_cluster_has_slots() -> None:
    budget = {"max_surge": 2, "cluster_slots": 2}
    assert findings(several("a", "b", "c"), MemoryAccount(free=(2, 2), limit=16.0, used=12), budget=budget) == ()
    short = MemoryAccount(free=(1, 0), limit=15.0, used=12)
    addresses, quota = findings(several("a", "b", "c"), short, budget=budget)
    assert addresses.what == "1 free addresses for 2 machines at once"
    assert quota.what == "12 of 15 vCPUs run already, a rotation needs 4 more"


def test_where_the_old_machine_goes_first_no_room_is_needed() -> None:
    account = MemoryAccount(free=(0, 0), limit=12.0, used=12)
    assert findings(MemoryWorld.simple(3, replicas=3), account, strategy="terminate_first") == ()


def test_what_is_said_to_do_about_too_little_room_would_help() -> None:
    account = MemoryAccount(free=(0, 0), limit=12.0, used=12)
    for finding in findings(MemoryWorld.simple(3, replicas=3), account, budget={"max_surge": 2}):
        assert finding.remedy.endswith("or lower budget.max_surge.")
    for finding in findings(MemoryWorld.simple(3, replicas=3), account, budget={"max_surge": 1}):
        assert finding.remedy.endswith("or set strategy: terminate_first.")
    for finding in findings(managed_world(), account):
        assert finding.remedy.endswith("or give the managed node groups the update strategy MINIMAL.")


def forgotten(number: int) -> tuple[MemoryWorld, Settings]:
    """A cluster with a group that its fleet file lacks."""
    groups = (seeds.Group("workers", "base-old", desired=2), seeds.Group("batch", "base-old", desired=number))
    world = MemoryWorld.of(groups=groups, images=(seeds.Image("base-old"),))
    pinned = {"image": {"id": world.image_id("base-old")}, "image_step": "launch_template"}
    return world, world.settings(**pinned).only(groups=["workers"])


def test_a_group_that_the_fleet_file_lacks_is_one_finding() -> None:
    world, settings = forgotten(5)

    finding = only(findings(world, settings=settings))

    assert finding.check is Check.DISCOVERY
    assert finding.what == "is in no group of the fleet file"
    assert finding.object.startswith("5 nodes (")
    assert finding.object.endswith(f"and 2 more) of Auto Scaling group {world.asg('batch')}")
    assert finding.remedy == "Add it to the fleet file, or leave it alone on purpose."


def test_a_node_whose_machine_is_gone_is_told_so() -> None:
    world = MemoryWorld.simple(2, max_unavailable=1)
    node = world.cluster.nodes()[0]
    world.objects.put_node(replace(node, name="left", uid="uid-left", instance_id="i-0left"))

    finding = only(findings(world))

    assert (finding.object, finding.check) == ("node left", Check.DISCOVERY)
    assert finding.what == "its instance i-0left is gone, or in another account or region"
    assert "kubectl delete node" in finding.remedy
