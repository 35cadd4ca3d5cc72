"""Which zone has too many: by how the group will end, and only while AWS would launch where one is missing."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from tests.node_rotation.builders import Machine, scaling

from node_rotation.scaling.zones import moves, spread, too_rich, unevenness
from node_rotation.world.aws import ScalingGroup

Where = Mapping[str, int]


def group(staying: Where, leaving: Where | None = None) -> tuple[ScalingGroup, frozenset[str]]:
    """A group by how many machines of each zone stay, and how many of it will leave."""
    gone = leaving or {}
    machines = [Machine(f"i-{zone}-{n}", zone=zone) for zone, count in staying.items() for n in range(count)]
    going = [Machine(f"i-{zone}-old-{n}", zone=zone) for zone, count in gone.items() for n in range(count)]
    return scaling([*machines, *going], zones=tuple(staying)), frozenset(m.id for m in going)


def test_members_that_leave_their_group_are_not_counted():
    machines = [Machine("i-1"), Machine("i-2", lifecycle="Terminating:Wait"), Machine("i-3", zone="b")]
    found = scaling(machines, zones=("a", "b", "c"))
    assert spread(found) == {"a": 1, "b": 1, "c": 0}
    assert unevenness(found) == 1


def test_moves_count_until_az_rebalance_would_be_content():
    assert moves((20, 20, 20)) == moves((21, 20, 20)) == 0
    assert moves((21, 20, 19)) == 1
    assert moves((24, 19, 17)) == 4
    assert moves((21, 20, 19), tolerated=2) == 0
    assert moves(()) == 0


def test_an_even_group_has_no_zone_too_rich():
    assert too_rich(*group({"a": 2, "b": 2, "c": 1})) == ()


def test_the_richest_zone_of_an_uneven_group():
    assert too_rich(*group({"a": 2, "b": 3, "c": 1})) == ("b",)


def test_what_a_group_bore_before_it_bears_again():
    there, leaving = group({"a": 3, "b": 2, "c": 1})
    assert too_rich(there, leaving, tolerated=2) == ()


def test_a_group_that_is_even_now_may_end_uneven():
    there, leaving = group({"a": 3, "b": 2, "c": 1}, {"b": 1, "c": 1})
    assert spread(there) == {"a": 3, "b": 3, "c": 2}
    assert unevenness(there) == 1
    assert too_rich(there, leaving) == ("a",)


def test_nothing_begins_while_aws_would_launch_where_none_is_missing():
    there, leaving = group({"a": 21, "b": 20, "c": 19}, {"b": 0, "c": 2})
    assert spread(there)["b"] < spread(there)["c"]
    assert too_rich(there, leaving) == ()


def test_two_at_once_where_aws_would_launch_one_of_them_nobody_knows_where():
    there, leaving = group({"a": 21, "b": 20, "c": 19}, {"c": 1})
    assert spread(there)["b"] == spread(there)["c"]
    assert too_rich(there, leaving) == ("a", "b")


def test_no_two_at_once_while_it_is_not_sure_that_they_end_it():
    there, leaving = group({"a": 22, "b": 20, "c": 18}, {"c": 2})
    assert spread(there)["b"] == spread(there)["c"]
    assert too_rich(there, leaving) == ()


counts = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 6), min_size=1)


@given(counts, st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)), st.integers(1, 3))
def test_wherever_aws_launches_the_group_ends_more_even(staying: Where, leaving: Where, tolerated: int):
    there, going = group(staying, {zone: count for zone, count in leaving.items() if zone in staying})
    rich = too_rich(there, going, tolerated)
    now, end = spread(there), spread(there, going)
    needed = moves(end.values(), tolerated)
    assert len(rich) <= 2
    for after in launched(now, end, len(rich)) if rich else ():
        left = {zone: count - rich.count(zone) for zone, count in after.items()}
        assert min(left.values()) >= 0
        assert moves(left.values(), tolerated) <= (needed - 1 if len(rich) == 1 else 0)


def launched(now: Where, end: Where, count: int) -> list[Where]:
    """Every end that so many launches may lead to, each in one of the zones that are poorest then."""
    if not count:
        return [end]
    poorest = [zone for zone in now if now[zone] == min(now.values())]
    more = [({**now, zone: now[zone] + 1}, {**end, zone: end[zone] + 1}) for zone in poorest]
    return [found for then, after in more for found in launched(then, after, count - 1)]


@given(counts, st.integers(1, 3))
def test_once_nothing_is_in_flight_there_is_always_a_way_on(staying: Where, tolerated: int):
    there, _ = group(staying)
    assert len(too_rich(there, tolerated=tolerated)) == int(unevenness(there) > tolerated)
