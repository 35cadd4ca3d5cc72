"""Which machines are not what their target says, and which are named and left alone."""

from __future__ import annotations

from dataclasses import replace

from tests.node_rotation.builders import (
    NEW,
    NEW_TEMPLATE,
    NOW,
    OLD,
    OLD_TEMPLATE,
    Machine,
    drifts,
    image,
    pod,
    settings,
    world,
)
from tests.node_rotation.masters import MASTERS, kops

from node_rotation import names
from node_rotation.detect import observe
from node_rotation.drift import PROVIDER_ID, cluster_notes, drift_of
from node_rotation.model import DriftReason, GroupDrift, Target, TemplateVersion
from node_rotation.policy import DriftPolicy, Policy
from node_rotation.target import Choice
from node_rotation.world.aws import GROUP_TAG
from node_rotation.world.kubernetes import Node
from node_rotation.world.snapshot import Snapshot


def look(snapshot: Snapshot, **policy) -> GroupDrift:
    (found,) = drifts(settings(**policy), snapshot)
    return found


def reasons(found: GroupDrift) -> dict[str, tuple[DriftReason, ...]]:
    return {machine.instance_id: machine.reasons for machine in found.drifted}


def test_machines_on_another_image_have_drifted_and_those_on_the_target_have_not():
    found = look(world({"dev-workers": [Machine("i-1"), Machine("i-2", image=NEW.id, template=NEW_TEMPLATE)]}))
    assert reasons(found) == {"i-1": (DriftReason.IMAGE,)}
    assert (found.machines, found.drifted[0].node, found.drifted[0].age_s) == (2, "node-i-1", 10 * 86400)


def test_the_template_version_counts_only_if_the_policy_says_so():
    snapshot = world({"dev-workers": [Machine("i-1", image=NEW.id, template=OLD_TEMPLATE)]})
    assert look(snapshot).drifted == ()
    assert reasons(look(snapshot, drift={"template": True})) == {"i-1": (DriftReason.TEMPLATE_VERSION,)}


def test_a_launch_configuration_is_known_by_its_name():
    was, now = TemplateVersion(name="base-2025"), TemplateVersion(name="base-2026")
    choice = Choice(Target(image=NEW, template=now, source="test"), templates=(now,))
    snapshot = world({"dev-workers": [Machine("i-1", image=NEW.id, template=was)]})
    policy = Policy(drift=DriftPolicy(template=True))
    found = drift_of("workers", "dev-workers", choice, snapshot, policy, images={}, now=NOW)
    assert reasons(found) == {"i-1": (DriftReason.LAUNCH_CONFIGURATION,)}


def test_age_and_a_mark_by_hand_are_drift_whatever_the_machine_runs():
    machines = [
        Machine("i-aged", image=NEW.id, days=40),
        Machine("i-marked", image=NEW.id, tags=(("node-rotation/rotate", ""),)),
    ]
    found = look(world({"dev-workers": machines}), drift={"max_age": "30d"})
    assert reasons(found) == {"i-aged": (DriftReason.AGE,), "i-marked": (DriftReason.MARKED,)}


def test_a_node_can_be_marked_by_annotation():
    snapshot = world({"dev-workers": [Machine("i-1", image=NEW.id)]})
    marked = replace(snapshot.nodes[0], annotations={"node-rotation/rotate": "kernel"})
    assert reasons(look(replace(snapshot, nodes=(marked,)))) == {"i-1": (DriftReason.MARKED,)}


def test_a_machine_on_a_newer_image_is_left_and_named_unless_the_image_is_pinned():
    newer = image("ami-newer", 0)
    snapshot = world({"dev-workers": [Machine("i-1", image=newer.id)]})
    target, images = Target(image=NEW, template=NEW_TEMPLATE, source="test"), {i.id: i for i in (OLD, NEW, newer)}

    def found(pinned: bool) -> GroupDrift:
        choice = Choice(target, pinned=pinned)
        return drift_of("workers", "dev-workers", choice, snapshot, Policy(), images=images, now=NOW)

    assert found(pinned=False).drifted == ()
    assert found(pinned=False).notes == ("machine i-1 runs ami-newer, newer than the target ami-new",)
    assert reasons(found(pinned=True)) == {"i-1": (DriftReason.IMAGE,)}


def test_machines_that_are_leaving_or_put_aside_are_not_drift():
    machines = [Machine("i-1", lifecycle="Terminating:Wait"), Machine("i-2", lifecycle="Standby")]
    found = look(world({"dev-workers": machines}))
    assert found.drifted == ()
    assert "machine i-2 is Standby and is left alone" in found.notes


def test_a_machine_without_node_is_named_and_replaced_as_unhealthy():
    found = look(world({"dev-workers": [Machine("i-1", node=False)]}))
    assert found.notes == ("machine i-1 of dev-workers has no Node",)
    assert (found.drifted[0].node, found.drifted[0].ready) == (None, False)


def test_pods_that_no_drain_moves_do_not_make_a_machine_busy():
    pods = [pod("api-1", "node-i-1"), pod("log", "node-i-1", owner="DaemonSet"), pod("x", "node-i-1", mirror=True)]
    assert look(world({"dev-workers": [Machine("i-1")]}, pods=pods)).drifted[0].pods == 1


def test_without_a_target_nothing_has_drifted():
    snapshot = world({"dev-workers": [Machine("i-1")]})
    found = drift_of("workers", "dev-workers", Choice(None), snapshot, Policy(), images={}, now=NOW)
    assert found.drifted == ()


def test_half_machines_and_foreign_nodes_are_named_and_left_alone():
    def stray(name: str, instance: str = "", provider: str = "", **labels: str) -> Node:
        named = {key.replace("__", "/").replace("_", "-"): value for key, value in labels.items()}
        return Node(name, "u", instance, True, labels=named, provider_id=provider)

    snapshot = replace(
        world({"dev-workers": [Machine("i-1")]}),
        nodes=(
            stray("n-mine", "i-1", "aws:///a/i-1"),
            stray("n-none"),
            stray("n-lost", "i-9", "aws:///a/i-9"),
            stray("n-kind", "", "kind://x"),
            stray("n-karp", "i-7", "aws:///a/i-7", **{"karpenter.sh__nodepool": "spot"}),
            stray("n-auto", "i-8", "aws:///a/i-8", **{"eks.amazonaws.com__compute_type": "auto"}),
            stray("n-farg", "", "aws:///a/x/fargate-1", **{"eks.amazonaws.com__compute_type": "fargate"}),
        ),
    )
    assert cluster_notes(snapshot) == (
        f"node n-none has no providerID: no machine can be found for it, and it is left alone. {PROVIDER_ID}",
        "node n-kind has providerID kind://x, which names no EC2 instance, and is left alone",
        "node n-karp belongs to Karpenter (node pool spot) and is left alone",
        "node n-auto belongs to EKS Auto Mode and is left alone",
        "node n-farg belongs to Fargate and is left alone",
        "node n-lost: its instance i-9 is gone, or in another account or region",
    )


def beside(snapshot: Snapshot, *machines: Machine) -> Snapshot:
    """The same cluster with Nodes whose machines EC2 knows and no group of the fleet has."""
    others = world({"others": machines})
    instances = {**snapshot.instances, **others.instances}
    return replace(snapshot, nodes=(*snapshot.nodes, *others.nodes), instances=instances)


def in_asg(group: str, *ids: str) -> list[Machine]:
    return [Machine(id_, tags=((GROUP_TAG, group),)) for id_ in ids]


def test_nodes_of_groups_that_the_fleet_file_lacks_are_told_once_per_group():
    ours = world({"dev-workers": [Machine("i-1")]})

    found = beside(ours, *in_asg("gpu", "i-2"), *in_asg("batch", *(f"i-b{n}" for n in range(1000))), Machine("i-3"))

    assert cluster_notes(found) == (
        "node node-i-2 of Auto Scaling group gpu is in no group of the fleet file and is left alone",
        "1000 nodes (node-i-b0, node-i-b1, node-i-b2 and 997 more) of Auto Scaling group batch are in no group of the "
        "fleet file and are left alone",
        "node node-i-3 is in no Auto Scaling group and is left alone",
    )


def test_masters_and_workers_of_a_kops_cluster_are_no_strangers():
    prod = kops()
    assert cluster_notes(observe(prod.settings(), prod.cloud, prod.cluster, prod.clock)) == ()


def test_a_look_finds_the_nodes_of_a_group_that_the_fleet_file_lacks():
    prod = kops()
    without = prod.settings().only(["nodes"])

    notes = cluster_notes(observe(without, prod.cloud, prod.cluster, prod.clock))

    assert [note.partition(" of ")[2] for note in notes] == [
        f"Auto Scaling group {prod.asg(name)} is in no group of the fleet file and is left alone" for name in MASTERS
    ]


def test_machines_that_a_group_of_ours_lets_go_or_warms_are_no_strangers():
    ours = world({"dev-workers": [Machine("i-1")]})
    detached = Machine("i-2", tags=((names.DETACHED_FROM, "dev-workers"),))
    (warmed,) = in_asg("dev-workers", "i-3")
    found = beside(ours, detached, warmed, *in_asg("gpu", "i-4"))
    leaving = replace(found.instances["i-4"], state="shutting-down")

    assert cluster_notes(replace(found, instances={**found.instances, "i-4": leaving})) == ()
