"""Faults come by the n-th call, crashes between any two mutations, and everything is written down."""

from __future__ import annotations

import pytest

from node_rotation.errors import ConflictError, PermanentError, TransientError
from node_rotation.testing.faults import Crash
from node_rotation.testing.seeds import Fault, Workload
from node_rotation.world.answers import Evicted, Throttled

GROUP = "dev-workers"
WEB = Workload("web", replicas=3)


def test_only_the_named_call_of_an_action_is_throttled(build):
    world = build(faults=(Fault("throttle", action="DescribeAutoScalingGroups", calls=(2,)),))

    world.cloud.groups([GROUP])
    with pytest.raises(TransientError):
        world.cloud.groups([GROUP])
    world.cloud.groups([GROUP])


def test_an_error_without_a_code_is_transient_and_nothing_happened(build):
    world = build(faults=(Fault("error", action="DetachInstances", calls=(1,)),))
    old = world.on_image("old")[0]

    with pytest.raises(TransientError):
        world.cloud.detach(GROUP, [old])

    assert world.orphans() == ()
    assert world.mutations == []


def test_an_error_with_a_code_stays(build):
    world = build(faults=(Fault("error", action="CreateTags", code="InvalidParameterValue"),))

    with pytest.raises(PermanentError, match="InvalidParameterValue"):
        world.cloud.tag_instances(world.on_image("old"), {"a": "b"})


def test_a_lost_answer_looks_like_an_error_although_it_happened(build):
    world = build(faults=(Fault("lost_answer", action="DetachInstances", calls=(1,)),))
    old = world.on_image("old")[0]

    with pytest.raises(TransientError, match="DetachInstances"):
        world.cloud.detach(GROUP, [old])

    assert world.orphans() == (old,)
    assert [m.action for m in world.mutations] == ["DetachInstances"]


def test_a_conflict_means_that_somebody_wrote_first(build):
    world = build(faults=(Fault("conflict", service="kubernetes", action="cordon", calls=(1,)),))
    node = world.cluster.nodes()[0]

    with pytest.raises(ConflictError):
        world.cluster.cordon(node.name, node.uid)


def test_a_throttled_eviction_is_an_answer(build, pods):
    world = build(WEB, faults=(Fault("throttle", action="evict", calls=(1,)),))
    pod = pods(world, "web")[0]

    assert isinstance(world.cluster.evict(pod), Throttled)
    assert isinstance(world.cluster.evict(pod), Evicted)


def test_a_slow_call_takes_its_time(build):
    world = build(faults=(Fault("delay", action="lease", calls=(1,), delay=7.0),))
    before = world.clock.now()

    world.cluster.lease()

    assert world.clock.now() - before == 7.0


def test_capacity_is_missing_for_so_many_launches_and_the_activity_says_so(build):
    world = build(faults=(Fault("capacity", zone="*", launches=3),))
    since = world.clock.now()
    world.clock.wait(1)

    world.cloud.set_sizes(GROUP, desired=4)
    world.clock.wait(1)

    (activity, *_) = world.cloud.activities(GROUP, since)
    assert activity.status == "Failed"
    assert "We currently do not have sufficient m6i.large capacity" in activity.message
    assert world.clock.run_until(lambda: len(world.cluster.nodes()) == 4, 60)


def test_a_crash_after_a_mutation_leaves_it_done(build):
    world = build()
    old = world.on_image("old")
    world.crash_after(2)

    world.cloud.tag_instances(old[:1], {"a": "b"})
    with pytest.raises(Crash):
        world.cloud.detach(GROUP, old[:1])

    assert world.orphans() == (old[0],)
    world.journal.alive_again()
    world.cloud.detach(GROUP, old[1:2])  # the next actor lives


def test_a_crash_before_a_mutation_leaves_it_undone(build):
    world = build()
    world.crash_before(1)

    with pytest.raises(Crash):
        world.cloud.detach(GROUP, world.on_image("old")[:1])

    assert world.orphans() == ()


def test_no_handler_for_errors_catches_a_crash():
    assert not issubclass(Crash, Exception)


def test_the_journal_names_who_did_what_and_when(build):
    world = build()
    with world.journal.acting("second triggerer"):
        world.cloud.suspend(GROUP, ["AZRebalance"])

    (mutation,) = world.mutations

    assert mutation.at == world.clock.now()
    assert (mutation.actor, mutation.action) == ("second triggerer", "SuspendProcesses")
    assert mutation.args == {"group": GROUP, "processes": ("AZRebalance",)}


def test_reading_is_counted_but_is_no_mutation(build):
    world = build()

    world.cloud.groups([GROUP])
    world.cluster.nodes()

    assert (world.journal.calls["DescribeAutoScalingGroups"], world.journal.calls["nodes"]) == (1, 1)
    assert world.mutations == []


def test_a_taint_that_is_there_is_not_written_again(build):
    world = build()
    node = world.cluster.nodes()[0]
    for _ in range(2):
        world.cluster.taint(node.name, node.uid, ("node-rotation/old", "", "PreferNoSchedule"))

    assert [m.action for m in world.mutations] == ["taint"]


def test_who_died_calls_nothing_any_more_not_even_from_a_finally(build):
    world = build()
    old = world.on_image("old")
    world.crash_after(1)

    def dies():
        try:
            world.cloud.tag_instances(old, {"a": "b"})
        finally:
            world.cloud.untag_instances(old, ["a"])

    with pytest.raises(Crash, match="is dead: it can't call"):
        dies()

    world.journal.alive_again()
    assert all(i.tags.get("a") == "b" for i in world.cloud.instances(old).values())
