"""EC2 instances, as both worlds show and change them."""

from __future__ import annotations

import pytest

from node_rotation.errors import GoneError

NOBODY = "i-0123456789abcdef0"
TAG = "node-rotation/detached-from"


def test_an_instance_says_what_it_is(world):
    (member, *_) = world.group().members

    instance = world.cloud.instances([member.instance_id])[member.instance_id]

    assert (instance.state, instance.zone, instance.instance_type) == ("running", member.zone, "m6i.large")
    assert instance.image_id.startswith("ami-")
    assert instance.launched_at <= world.clock.now()
    assert instance.tags["kubernetes.io/cluster/dev"] == "owned"
    assert not instance.termination_protected


def test_instances_nobody_knows_are_left_out(world):
    known = world.members()

    assert set(world.cloud.instances([*known, NOBODY])) == set(known)
    assert world.cloud.instances([]) == {}


def test_a_terminated_instance_is_remembered(world):
    old = world.members()[0]

    world.cloud.terminate(old)

    world.eventually(lambda: world.cloud.instances([old])[old].state == "terminated")
    world.cloud.terminate(old)
    assert world.cloud.instances([old])[old].state == "terminated"


def test_terminating_what_nobody_knows_is_gone(world):
    with pytest.raises(GoneError, match=NOBODY):
        world.cloud.terminate(NOBODY)


def test_the_group_replaces_a_member_that_was_terminated(world):
    before = world.members()

    world.cloud.terminate(before[0])

    world.eventually(lambda: len(set(world.members()) - set(before)) == 1)
    assert world.group().desired == 3


def test_an_orphan_is_found_by_its_tag(world):
    old = world.members()[0]
    world.cloud.tag_instances([old], {TAG: "dev-workers"})
    world.cloud.detach("dev-workers", [old])

    assert set(world.cloud.tagged_instances(TAG)) == {old}
    assert set(world.cloud.tagged_instances(TAG, "dev-workers")) == {old}
    assert world.cloud.tagged_instances(TAG, "dev-other") == {}

    world.cloud.terminate(old)
    world.eventually(lambda: not world.cloud.tagged_instances(TAG))


def test_tags_come_and_go_and_leave_the_others(world):
    first, second, _ = world.members()
    world.cloud.tag_instances([first, second], {TAG: "dev-workers", "node-rotation/run": "r1"})

    world.cloud.untag_instances([first, second], [TAG, "never/there"])

    for instance in world.cloud.instances([first, second]).values():
        assert TAG not in instance.tags
        assert instance.tags["node-rotation/run"] == "r1"
        assert instance.tags["kubernetes.io/cluster/dev"] == "owned"
    world.cloud.untag_instances([first, second], ["node-rotation/run"])


def test_naming_no_tag_changes_nothing(world):
    first = world.members()[0]
    tags = world.cloud.instances([first])[first].tags

    world.cloud.untag_instances([first], [])
    world.cloud.tag_instances([first], {})

    assert world.cloud.instances([first])[first].tags == tags


def test_tagging_what_nobody_knows_is_gone(world):
    with pytest.raises(GoneError):
        world.cloud.tag_instances([NOBODY], {TAG: "dev-workers"})
