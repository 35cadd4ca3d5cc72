"""May a master go, and is the control plane whole again: decided over one observation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation import builders
from tests.node_rotation.builders import Machine

from node_rotation import names
from node_rotation.control_plane import endpoints, quorum
from node_rotation.control_plane.values import ControlPlane, EtcdCluster, EtcdMember
from node_rotation.fleet import Settings
from node_rotation.model import GroupPlan, Strategy
from node_rotation.world.snapshot import Snapshot

MASTERS = tuple(Machine(f"i-{zone}", zone=zone) for zone in "abc")
ENDPOINTS = [f"http://etcd-{zone}:4001" for zone in "abc"]


def settings(**control_plane: Any) -> Settings:
    etcd = {name: {"endpoints": ENDPOINTS} for name in ("main", "events")}
    groups = [{"name": "masters", "kind": "kops", "role": "control-plane"}]
    return builders.settings(groups, control_plane={"etcd": etcd, **control_plane})


def etcd(name: str, *away: str, voters: int = 3) -> EtcdCluster:
    members = tuple(EtcdMember(e, e[12] not in away, "" if e[12] not in away else "no leader") for e in ENDPOINTS)
    return EtcdCluster(name, members, tuple(f"etcd-{n}" for n in range(voters)))


def seen(*clusters: EtcdCluster, masters: tuple[Machine, ...] = MASTERS, ready: bool = True) -> Snapshot:
    found = clusters or (etcd("main"), etcd("events"))
    snapshot = builders.world({"dev-masters": masters})
    return replace(snapshot, control_plane=ControlPlane(ready, "" if ready else "[-]etcd failed", found))


def test_all_well_lets_one_go() -> None:
    assert quorum.before(settings(), seen(), ["i-a"]) == ()
    assert quorum.after(settings(), seen()) == ()


@pytest.mark.parametrize("name", ["main", "events"])
def test_a_member_that_is_away_in_either_cluster_keeps_every_master(name: str) -> None:
    other = "events" if name == "main" else "main"
    (reason,) = quorum.before(settings(), seen(etcd(name, "c"), etcd(other)), ["i-a"])
    assert reason == f"etcd {name}: http://etcd-c:4001 is not healthy (no leader)"


def test_a_broken_master_may_go_with_its_own_member() -> None:
    broken = (replace(MASTERS[0], ready=False), *MASTERS[1:])
    snapshot = seen(etcd("main", "a"), etcd("events", "a"), masters=broken)

    assert quorum.before(settings(), snapshot, ["i-a"]) == ()
    assert [r for r in quorum.before(settings(), snapshot, ["i-b"]) if "node-i-a" in r]


def test_a_broken_master_does_not_go_while_another_s_member_is_away_too() -> None:
    broken = (replace(MASTERS[0], ready=False), *MASTERS[1:])
    assert quorum.before(settings(), seen(etcd("main", "a", "b"), etcd("events"), masters=broken), ["i-a"])


def test_another_master_that_is_not_ready_keeps_them_all() -> None:
    masters = (*MASTERS[:2], replace(MASTERS[2], ready=False))
    assert quorum.before(settings(), seen(masters=masters), ["i-a"]) == ("master node-i-c (i-c) is not Ready",)


def test_another_master_that_is_not_in_service_yet_keeps_them_all() -> None:
    masters = (*MASTERS[:2], replace(MASTERS[2], lifecycle="Pending"))
    (reason,) = quorum.before(settings(), seen(masters=masters), ["i-a"])
    assert reason == "asg dev-masters has 2 of 3 masters in service"


@pytest.mark.parametrize(
    ("not_ready", "kept"), [((), ""), (("i-new",), ""), (("i-c",), "node-i-c"), (("i-new", "i-c"), "node-i-c")]
)
def test_for_a_detached_master_its_replacement_need_not_be_ready_but_every_other_has_to(
    not_ready: tuple[str, ...], kept: str
) -> None:
    asg, gone = "dev-masters", replace(MASTERS[0], tags=((names.DETACHED_FROM, "dev-masters"),))
    machines = (gone, *MASTERS[1:], Machine("i-new", days=0.1))
    snapshot = seen(masters=tuple(replace(m, ready=m.id not in not_ready) for m in machines))
    group = replace(snapshot.groups[asg], members=snapshot.groups[asg].members[1:], desired=3)
    held = quorum.before(settings(), replace(snapshot, groups={asg: group}), ["i-a"])
    assert held == ((f"master {kept} (i-c) is not Ready",) if kept else ())
    short = replace(group, members=group.members[:-1])
    before_it_came = quorum.before(settings(), replace(snapshot, groups={asg: short}), ["i-a"])
    assert before_it_came == held


def test_an_api_server_that_is_not_ready_keeps_them_all() -> None:
    assert quorum.before(settings(), seen(ready=False), ["i-a"]) == ("the API server is not ready: [-]etcd failed",)


def test_not_having_looked_is_no_reason_to_go() -> None:
    assert quorum.before(settings(), replace(seen(), control_plane=None), ["i-a"])
    assert quorum.after(settings(), replace(seen(), control_plane=None))


def test_a_member_that_nobody_answers_for_is_missed() -> None:
    (reason, _) = quorum.after(settings(), seen(etcd("main", voters=4), etcd("events", voters=4)))
    assert reason == "etcd main: 1 of 4 members are not to be found"


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_need_their_outage_approved(count: int) -> None:
    snapshot = seen(etcd("main", voters=count), etcd("events", voters=count), masters=MASTERS[:count])

    assert [r for r in quorum.before(settings(), snapshot, ["i-a"]) if f"control plane of {count}" in r]
    assert quorum.before(settings(allow_outage=True), snapshot, ["i-a"]) == ()


def test_without_a_probe_nodes_and_api_have_to_do_if_the_policy_says_so() -> None:
    snapshot = replace(seen(), control_plane=ControlPlane(True))

    assert quorum.before(settings(etcd={}), snapshot, ["i-a"])
    assert quorum.before(settings(etcd={}, without_probe=True), snapshot, ["i-a"]) == ()


def test_endpoints_by_node_name_count_a_master_without_a_node_as_missing() -> None:
    policy = {name: {"endpoints": ["http://{node}:8081"]} for name in ("main", "events")}
    told = settings(etcd=policy)
    nodes = [
        replace(n, labels={"node-role.kubernetes.io/control-plane": ""}) for n in seen().nodes if n.name != "node-i-a"
    ]
    probes = endpoints.probes(told.policy.control_plane, nodes)
    assert probes["main"].endpoints == ("http://node-i-b:8081", "http://node-i-c:8081")

    two = tuple(EtcdMember(endpoint, True) for endpoint in probes["main"].endpoints)
    (reason, _) = quorum.after(told, seen(EtcdCluster("main", two), EtcdCluster("events", two)))
    assert reason == "etcd main: 1 of 3 members are not to be found"


BY_NODE = {name: {"endpoints": ["http://{address}:8081"]} for name in ("main", "events")}


def by_node(name: str, *away: str, of: str = "abc") -> EtcdCluster:
    """It is known which master's Node each of its members is of."""
    members = (EtcdMember(f"http://10.0.0.{m}:8081", m not in away, "no leader", f"node-i-{m}") for m in of)
    return EtcdCluster(name, tuple(members))


def test_what_a_broken_master_may_take_along_is_its_own_member_and_not_another_s() -> None:
    """A's kubelet is dead and its etcd well, B's etcd is dead and its Node well: without A only C would be left."""
    told, broken = settings(etcd=BY_NODE), (replace(MASTERS[0], ready=False), *MASTERS[1:])
    own = seen(by_node("main", "a"), by_node("events", "a"), masters=broken)
    assert quorum.before(told, own, ["i-a"]) == ()
    assert planned(told, own) == []

    another = seen(by_node("main", "b"), by_node("events"), masters=broken)
    said = ["etcd main: http://10.0.0.b:8081 of node-i-b is not healthy (no leader)"]
    assert list(quorum.before(told, another, ["i-a"])) == said
    assert planned(told, another) == said
    both = seen(by_node("main", "a", "b"), by_node("events"), masters=broken)
    assert list(quorum.before(told, both, ["i-a"])) == said


def test_a_broken_master_without_a_node_may_go_with_the_member_that_is_not_to_be_found() -> None:
    told, gone = settings(etcd=BY_NODE), (replace(MASTERS[0], ready=False, node=False), *MASTERS[1:])
    left = seen(by_node("main", of="bc"), by_node("events", of="bc"), masters=gone)
    assert quorum.before(told, left, ["i-a"]) == ()
    assert planned(told, left) == []
    one_more = seen(by_node("main", "b", of="bc"), by_node("events", of="bc"), masters=gone)
    assert "http://10.0.0.b:8081 of node-i-b is not healthy" in quorum.before(told, one_more, ["i-a"])[0]


def by_name(*away: str) -> tuple[Settings, Snapshot]:
    """A fixed list by the names of Nodes, and A without one: of its member alone nobody can say whose it is."""
    told = listed(*(f"http://node-i-{m}:8081" for m in "abc"))
    members = (EtcdMember(f"http://node-i-{m}:8081", m not in away, "no leader", f"node-i-{m}") for m in "bc")
    own = EtcdMember("http://node-i-a:8081", "a" not in away, "no leader")
    return told, heard(own, *members, masters=(replace(MASTERS[0], ready=False, node=False), *MASTERS[1:]))


def test_a_broken_master_without_a_node_excuses_no_member_of_another_s() -> None:
    """A's etcd is well, B's is dead and its Node well: without A only C would be left."""
    told, another = by_name("b")
    said = [f"etcd {name}: http://node-i-b:8081 is not healthy (no leader)" for name in ("main", "events")]
    assert list(quorum.before(told, another, ["i-a"])) == said
    assert planned(told, another) == said


def test_a_broken_master_without_a_node_may_go_with_the_member_that_nobody_can_say_whose_it_is() -> None:
    told, own = by_name("a")
    assert quorum.before(told, own, ["i-a"]) == ()
    assert planned(told, own) == []
    assert quorum.before(*by_name("a", "b"), ["i-a"])


def test_a_master_may_go_whose_own_member_is_the_one_that_is_away() -> None:
    told = settings(etcd=BY_NODE)
    assert quorum.before(told, seen(by_node("main", "a"), by_node("events", "a")), ["i-a"]) == ()
    assert quorum.before(told, seen(by_node("main", "a"), by_node("events", "a")), ["i-b"])


def listed(*endpoints: str, kind: str = "kops") -> Settings:
    """Both etcd clusters at fixed endpoints."""
    policy = {name: {"endpoints": list(endpoints)} for name in ("main", "events")}
    groups = [{"name": "masters", "kind": kind, "role": "control-plane"}]
    return builders.settings(groups, control_plane={"etcd": policy})


def heard(*members: EtcdMember, masters: tuple[Machine, ...] = MASTERS) -> Snapshot:
    """What metrics listeners say: they list no voters."""
    return seen(EtcdCluster("main", members), EtcdCluster("events", members), masters=masters)


@pytest.mark.parametrize("kind", ["kops", "asg"])
def test_a_fixed_list_that_names_one_of_three_masters_members_is_too_short(kind: str) -> None:
    told = listed("http://10.0.0.1:8081", kind=kind)
    snapshot = heard(EtcdMember("http://10.0.0.1:8081", True, "true", "node-i-a"))
    said = [f"etcd {name}: 2 of 3 members are not to be found" for name in ("main", "events")]

    assert list(quorum.before(told, snapshot, ["i-b"])) == said
    assert list(quorum.after(told, snapshot)) == said
    assert planned(told, snapshot) == said
    group = GroupPlan.model_construct(name="masters", asg="dev-masters", strategy=Strategy.TERMINATE_FIRST)
    assert "name every member" in next(quorum.blockers(told, [group], snapshot)).remedy


def test_two_endpoints_of_one_master_are_one_member() -> None:
    endpoints = ("http://10.0.0.1:8081", "http://10.0.0.1:4001", "http://10.0.0.2:8081")
    members = (EtcdMember(e, True, "true", f"node-i-{of}") for e, of in zip(endpoints, "aab", strict=True))
    assert "1 of 3 members" in quorum.after(listed(*endpoints), heard(*members))[0]


def test_a_member_that_nobody_asks_is_not_the_broken_master_s() -> None:
    """A's kubelet is dead and its etcd well; how C's is, nobody knows: without A only B may be left."""
    broken = (replace(MASTERS[0], ready=False, node=False), *MASTERS[1:])
    two = tuple(EtcdMember(endpoint, True, "true") for endpoint in ENDPOINTS[:2])
    assert "1 of 3 members" in quorum.before(listed(*ENDPOINTS[:2]), heard(*two, masters=broken), ["i-a"])[0]


def test_etcd_on_machines_of_its_own_may_have_fewer_members_than_there_are_masters() -> None:
    masters = tuple(Machine(f"i-{name}") for name in "abcde")
    told, members = listed(*ENDPOINTS, kind="asg"), (EtcdMember(endpoint, True, "true") for endpoint in ENDPOINTS)
    assert quorum.before(told, heard(*members, masters=masters), ["i-a"]) == ()


def planned(settings: Settings, snapshot: Snapshot, strategy: Strategy = Strategy.TERMINATE_FIRST) -> list[str]:
    group = GroupPlan.model_construct(name="masters", asg="dev-masters", strategy=strategy)
    return [b.reason for b in quorum.blockers(settings, [group], snapshot)]


def test_a_plan_with_masters_says_which_member_is_not_healthy() -> None:
    assert planned(settings(), seen()) == []
    assert planned(settings(), seen(etcd("main", "c"), etcd("events"))) == [
        "etcd main: http://etcd-c:4001 is not healthy (no leader)"
    ]


def test_a_plan_lets_a_broken_master_go_with_its_own_member() -> None:
    broken = (replace(MASTERS[0], ready=False), *MASTERS[1:])
    assert planned(settings(), seen(etcd("main", "a"), etcd("events", "a"), masters=broken)) == []


def test_a_plan_without_masters_does_not_ask_etcd() -> None:
    assert list(quorum.blockers(settings(), [], seen(etcd("main", "c"), etcd("events")))) == []
