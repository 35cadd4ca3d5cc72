"""Where the members of etcd answer, and whose master each is: decided from endpoints as written and the Nodes."""

from __future__ import annotations

import pytest

from node_rotation.control_plane import endpoints
from node_rotation.control_plane.values import ControlPlane, ControlPlanePolicy, EtcdCluster, EtcdMember
from node_rotation.world.kubernetes import Node

MASTER = {"node-role.kubernetes.io/control-plane": ""}


def node(name: str, address: str = "", *, created_at: float = 0.0, master: bool = True) -> Node:
    labels = MASTER if master else {}
    return Node(name, f"uid-{name}", name, True, labels=labels, created_at=created_at, address=address)


MASTERS = [node("i-0a", "10.0.0.1"), node("i-0b", "10.0.0.2"), node("i-0c", "10.0.0.3")]


def policy(*written: str) -> ControlPlanePolicy:
    return ControlPlanePolicy.model_validate({"etcd": {"main": {"endpoints": list(written)}}})


def asked(nodes: list[Node], *written: str) -> tuple[str, ...]:
    return endpoints.probes(policy(*written), nodes)["main"].endpoints


def owners(nodes: list[Node], *written: str) -> list[str]:
    """The Node of each member that answered."""
    members = tuple(EtcdMember(endpoint, True) for endpoint in asked(nodes, *written))
    state = ControlPlane(True, "ok", (EtcdCluster("main", members, ("a", "b", "c")),))
    (cluster,) = endpoints.attributed(policy(*written), nodes, state).etcd
    assert cluster.voters == ("a", "b", "c")
    return [member.node for member in cluster.members]


def test_masters_that_are_named_by_instance_are_asked_at_their_addresses() -> None:
    assert asked(MASTERS, "http://{address}:8081") == (
        "http://10.0.0.1:8081",
        "http://10.0.0.2:8081",
        "http://10.0.0.3:8081",
    )


def test_an_address_of_version_6_stands_in_brackets() -> None:
    assert asked([node("i-0a", "fd00::1")], "http://{address}:8081") == ("http://[fd00::1]:8081",)
    assert owners([node("i-0a", "fd00::1")], "http://{address}:8081") == ["i-0a"]


def test_a_master_without_an_address_is_not_asked_and_workers_neither() -> None:
    nodes = [*MASTERS[:2], node("i-0c"), node("i-0d", "10.0.0.4", master=False)]
    assert asked(nodes, "http://{address}:8081") == ("http://10.0.0.1:8081", "http://10.0.0.2:8081")
    assert asked(nodes[3:], "http://{node}:8081") == ()


@pytest.mark.parametrize(
    "written",
    [
        ["http://{node}:8081"],
        ["http://{address}:8081"],
        ["http://{node}.eu-central-1.compute.internal:8081"],
        ["http://10.0.0.1:8081", "http://10.0.0.2:8081", "http://10.0.0.3:8081"],
        ["http://i-0a:8081", "http://i-0b:8081", "http://i-0c:8081"],
    ],
)
def test_it_is_known_whose_member_answers_there(written: list[str]) -> None:
    assert owners(MASTERS, *written) == ["i-0a", "i-0b", "i-0c"]


def test_members_at_names_of_their_own_are_nobody_s_in_particular() -> None:
    assert owners(MASTERS, "http://etcd-a.example:4001", "http://10.9.9.9:4001") == ["", ""]


def test_an_address_that_a_newer_master_took_over_is_the_newer_one_s() -> None:
    left, new = node("i-0z", "10.0.0.1", created_at=1.0), node("i-0a", "10.0.0.1", created_at=2.0)
    assert owners([new, left], "http://{address}:8081") == ["i-0a"]
    assert owners([left, new], "http://10.0.0.1:8081") == ["i-0a"]
