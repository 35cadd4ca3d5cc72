"""A control plane: what the policy's section ``control_plane`` says of it, and what a probe of it found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from node_rotation.model import Value

NODE, ADDRESS = "{node}", "{address}"


def _no_other_placeholder(endpoint: str) -> str:
    """Said as the file is read, and not once a plan is to be made: nobody answers at such an address."""
    rest = endpoint.replace(NODE, "").replace(ADDRESS, "")
    if found := re.search(r"\{[^}]*\}?|\}", rest):
        raise ValueError(f"{found.group()} is no placeholder: {ADDRESS} or {NODE}")
    return endpoint


class EtcdAccess(Value):
    """Where the members of one etcd cluster answer over HTTP.

    kops exposes ``/health`` without a client certificate on a metrics listener (``ETCD_LISTEN_METRICS_URLS`` in
    ``etcdClusters[].manager.env``); on the client port, with a certificate, the members are listed as well.
    """

    endpoints: tuple[Annotated[str, AfterValidator(_no_other_placeholder)], ...] = Field(
        min_length=1,
        examples=[["http://{address}:8081"]],
        description="one per member, e.g. https://etcd-a.example:4001; {address} stands for each master's internal "
        "address, {node} for its Node's name",
    )
    ca: str | None = Field(
        default=None,
        examples=["/etc/etcd/ca.crt"],
        description="file with the authority's certificate; ~ and $VARIABLES expanded",
    )
    certificate: str | None = Field(
        default=None, examples=["/etc/etcd/client.crt"], description="file with the client certificate"
    )
    key: str | None = Field(default=None, examples=["/etc/etcd/client.key"], description="file with its key")


class ControlPlanePolicy(Value):
    """What must hold before and after each master is replaced; read from the cluster's policy, not a group's."""

    etcd: dict[str, EtcdAccess] = Field(
        default={},
        examples=[{"main": {"endpoints": ["http://{address}:8081"]}}],
        description="etcd clusters by name; kops has main and events",
    )
    without_probe: bool = Field(
        default=False, description="replace masters although nobody asks etcd: Nodes Ready and API ready must do"
    )
    allow_outage: bool = Field(
        default=False, description="fewer than three masters: accept that the API is away while one is replaced"
    )


@dataclass(frozen=True, slots=True)
class EtcdMember:
    """What one endpoint said of itself; ``said`` is its own word, or why there was none.

    ``node`` is the name of the master's Node whose member it is, "" if nobody can tell.
    """

    endpoint: str
    healthy: bool
    said: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class EtcdCluster:
    """One etcd cluster; ``voters`` are the names of its voting members, empty where no endpoint lists them."""

    name: str
    members: tuple[EtcdMember, ...]
    voters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The API server's own word on being ready, and its etcd clusters as far as they are probed."""

    ready: bool
    said: str = ""
    etcd: tuple[EtcdCluster, ...] = ()
