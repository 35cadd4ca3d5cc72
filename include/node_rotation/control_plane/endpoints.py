"""Where the members of etcd are asked, and whose master each is: pure decisions over a policy and the Nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from node_rotation.control_plane.values import ADDRESS, NODE, ControlPlane, ControlPlanePolicy, EtcdAccess
from node_rotation.world.kubernetes import Node

MASTER_LABELS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


def probes(policy: ControlPlanePolicy, nodes: Iterable[Node]) -> Mapping[str, EtcdAccess]:
    """The etcd clusters to be probed, ``{node}`` and ``{address}`` replaced by each master's."""
    found = _owners(policy, nodes)
    return {name: access.model_copy(update={"endpoints": tuple(found[name])}) for name, access in policy.etcd.items()}


def attributed(policy: ControlPlanePolicy, nodes: Iterable[Node], state: ControlPlane) -> ControlPlane:
    """What the probes found, each member with the Node it is of, as far as that is known."""
    found = _owners(policy, nodes)
    clusters = (
        replace(cluster, members=tuple(replace(m, node=found[cluster.name][m.endpoint]) for m in cluster.members))
        for cluster in state.etcd
    )
    return replace(state, etcd=tuple(clusters))


def asked(
    policy: ControlPlanePolicy, nodes: Sequence[Node], ask: Callable[[Mapping[str, EtcdAccess]], ControlPlane]
) -> ControlPlane:
    """The control plane as its probes find it.

    :param ask: ``Cluster.control_plane``.
    """
    return attributed(policy, nodes, ask(probes(policy, nodes)))


def is_master(node: Node) -> bool:
    """Whether a Node says that it is one of the control plane."""
    return any(label in node.labels for label in MASTER_LABELS)


def by_node(access: EtcdAccess) -> bool:
    """Whether every master has an endpoint of its own, whatever masters there are."""
    return any(_is_by_node(endpoint) for endpoint in access.endpoints)


def _is_by_node(endpoint: str) -> bool:
    return NODE in endpoint or ADDRESS in endpoint


def _owners(policy: ControlPlanePolicy, nodes: Iterable[Node]) -> Mapping[str, Mapping[str, str]]:
    """Etcd cluster → endpoint → the Node it is of; "" if nobody can tell."""
    # By age: where a Node that is left over had the same address, the newer one has it now.
    masters = sorted((n for n in nodes if is_master(n)), key=lambda n: (n.created_at, n.name))
    return {
        name: {e: owner for written in access.endpoints for e, owner in _expanded(written, masters).items()}
        for name, access in policy.etcd.items()
    }


def _expanded(written: str, masters: Sequence[Node]) -> Mapping[str, str]:
    if not _is_by_node(written):
        host = urlsplit(written).hostname
        return {written: next((n.name for n in reversed(masters) if host in (n.name, n.address)), "")}
    return {
        written.replace(NODE, node.name).replace(ADDRESS, _host(node.address)): node.name
        for node in masters
        if node.address or ADDRESS not in written
    }


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
