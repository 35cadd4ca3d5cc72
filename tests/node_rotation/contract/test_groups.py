"""Auto Scaling groups, as both worlds show and change them."""

from __future__ import annotations

import pytest

from node_rotation.errors import BlockedError, GoneError
from node_rotation.ledger import Resizing
from node_rotation.steps.adoption import was_made

WORKERS = "dev-workers"
NOBODY = "i-0123456789abcdef0"


def test_a_group_says_what_it_is(world):
    group = world.group()

    assert (group.min, group.max, group.desired) == (2, 5, 3)
    assert group.tags["pool"] == "main"
    assert group.template.name
    assert group.template.version == "$Latest"
    assert not group.template.launch_configuration
    assert [zone[-1] for zone in sorted(group.zones)] == ["a", "b", "c"]
    assert (group.suspended, group.hooks, group.refresh_in_progress) == ({}, (), "")


def test_its_members_are_spread_and_know_their_template(world):
    members = world.group().members

    assert {m.lifecycle for m in members} == {"InService"}
    assert {m.health for m in members} == {"Healthy"}
    assert len({m.zone for m in members}) == 3
    assert all(m.template and m.template.version.isdigit() for m in members)


def test_a_group_whose_types_have_weights_says_so(world):
    assert world.group().weights == ()
    assert max(world.group("dev-weighted").weights) == 2


def test_a_group_that_does_not_exist_is_left_out(world):
    assert list(world.cloud.groups([WORKERS, "nobody"])) == [WORKERS]


def test_groups_are_found_by_all_their_tags(world):
    assert world.cloud.find_groups({"pool": "main"}) == (WORKERS,)
    assert len(world.cloud.find_groups({"kubernetes.io/cluster/dev": "owned"})) == 8
    assert world.cloud.find_groups({"pool": "main", "kubernetes.io/cluster/dev": "other"}) == ()


def test_detaching_launches_a_replacement_and_leaves_the_old_machine_running(world):
    before = world.members()
    old = before[0]

    world.cloud.detach(WORKERS, [old])

    world.eventually(lambda: len(world.members()) == 3 and set(world.members()) - set(before))
    assert old not in world.members()
    assert world.group().desired == 3
    assert world.cloud.instances([old])[old].state == "running"


def test_detaching_what_is_detached_already_is_gone(world):
    old = world.members()[0]
    world.cloud.detach(WORKERS, [old])
    world.eventually(lambda: world.group().member(old) is None)  # listed as Detaching for a moment

    with pytest.raises(GoneError, match=old):
        world.cloud.detach(WORKERS, [old])


def test_attaching_raises_the_desired_size(world):
    old = world.members()[0]
    world.cloud.detach(WORKERS, [old])
    world.eventually(lambda: len(world.members()) == 3)

    world.cloud.attach(WORKERS, [old])

    world.eventually(lambda: old in world.members())
    assert world.group().desired == 4


def test_attaching_beyond_the_maximum_is_blocked(world):
    old = world.members()[0]
    world.cloud.detach(WORKERS, [old])
    world.eventually(lambda: len(world.members()) == 3)
    world.cloud.set_sizes(WORKERS, max=3)

    with pytest.raises(BlockedError) as refused:
        world.cloud.attach(WORKERS, [old])

    assert WORKERS in str(refused.value)
    assert refused.value.blocked.remedy


def test_terminating_with_decrement_lowers_the_desired_size(world):
    old = world.members()[0]

    world.cloud.terminate_in_group(old, decrement=True)

    assert world.group().desired == 2
    world.eventually(lambda: world.cloud.instances([old])[old].state == "terminated")
    assert len(world.members()) == 2


def test_terminating_without_decrement_brings_another(world):
    before = world.members()

    world.cloud.terminate_in_group(before[0], decrement=False)

    world.eventually(lambda: len(set(world.members()) - set(before)) == 1)
    assert world.group().desired == 3


def test_terminating_below_the_minimum_is_blocked(world):
    world.cloud.set_sizes(WORKERS, min=3)

    with pytest.raises(BlockedError):
        world.cloud.terminate_in_group(world.members()[0], decrement=True)

    assert len(world.members()) == 3


def test_a_machine_nobody_knows_is_gone(world):
    with pytest.raises(GoneError, match=NOBODY):
        world.cloud.terminate_in_group(NOBODY, decrement=True)
    with pytest.raises(GoneError):
        world.cloud.detach(WORKERS, [NOBODY])


def test_only_the_sizes_that_are_given_are_set(world):
    world.cloud.set_sizes(WORKERS, max=7)
    world.cloud.set_sizes(WORKERS, desired=4)

    group = world.group()
    assert (group.min, group.max, group.desired) == (2, 7, 4)
    world.eventually(lambda: len(world.members()) == 4)


def test_a_size_outside_the_bounds_is_blocked(world):
    with pytest.raises(BlockedError) as refused:
        world.cloud.set_sizes(WORKERS, desired=9)

    assert refused.value.blocked.objects
    assert world.group().desired == 3


def test_a_group_nobody_knows_is_gone(world):
    for call in (
        lambda: world.cloud.set_sizes("nobody", max=3),
        lambda: world.cloud.suspend("nobody", ["AZRebalance"]),
        lambda: world.cloud.activities("nobody", 0.0),
        lambda: world.cloud.detach("nobody", [NOBODY]),
    ):
        with pytest.raises(GoneError):
            call()


def test_only_the_named_processes_are_suspended_and_resumed(world):
    world.cloud.suspend(WORKERS, ["AZRebalance", "AlarmNotification"])
    assert set(world.group().suspended) == {"AZRebalance", "AlarmNotification"}

    world.cloud.resume(WORKERS, ["AZRebalance"])
    assert set(world.group().suspended) == {"AlarmNotification"}


def test_naming_no_process_changes_nothing(world):
    world.cloud.suspend(WORKERS, ["AZRebalance"])

    world.cloud.suspend(WORKERS, [])
    world.cloud.resume(WORKERS, [])

    assert set(world.group().suspended) == {"AZRebalance"}


def test_a_groups_tags_are_its_own(world):
    world.cloud.tag_group(WORKERS, {"node-rotation/baseline": "one"})
    world.cloud.tag_group(WORKERS, {"node-rotation/baseline": "two"})
    assert world.group().tags["node-rotation/baseline"] == "two"
    before = world.members()
    world.cloud.terminate_in_group(before[0], decrement=False)
    (new,) = world.eventually(lambda: set(world.members()) - set(before))
    assert "node-rotation/baseline" not in world.cloud.instances([new])[new].tags

    world.cloud.untag_group(WORKERS, ["node-rotation/baseline", "never/there"])
    assert "node-rotation/baseline" not in world.group().tags


def test_activities_come_newest_first_and_only_since(world):
    since = world.clock.now()
    world.until(lambda: False, 0.2)
    old = world.members()[0]
    world.cloud.terminate_in_group(old, decrement=False)

    found = world.eventually(lambda: len(acts := world.cloud.activities(WORKERS, since)) >= 2 and acts)

    assert [a.started_at for a in found] == sorted((a.started_at for a in found), reverse=True)
    assert any(old in a.description for a in found)
    assert len(found) < len(world.cloud.activities(WORKERS, 0.0))


def test_what_is_launched_says_who_asked_for_it(world):
    since = world.clock.now()
    world.cloud.set_sizes(WORKERS, desired=4)
    world.eventually(lambda: len(world.members()) == 4)

    (activity,) = [a for a in world.cloud.activities(WORKERS, since - 2.0) if "from 3 to 4" in a.cause]

    assert "a user request update of AutoScalingGroup constraints to min: 2, max: 5, desired: 4" in activity.cause
    change = Resizing(since=since, was=3, to=4)
    assert was_made(change, world.group(), (activity,), 60.0)
    assert not was_made(Resizing(since=since - 100.0, was=3, to=4), world.group(), (activity,), 60.0)
