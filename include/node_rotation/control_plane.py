"""What a control plane's rotation may do, and where its etcd is probed: the policy's section ``control_plane``."""

from __future__ import annotations

from pydantic import Field

from node_rotation.model import Value


class EtcdAccess(Value):
    """Where the members of one etcd cluster answer over HTTP.

    kops exposes ``/health`` without a client certificate on a metrics listener (``ETCD_LISTEN_METRICS_URLS`` in
    ``etcdClusters[].manager.env``); on the client port, with a certificate, the members are listed as well.
    """

    endpoints: tuple[str, ...] = Field(
        min_length=1,
        description="one per member, e.g. https://etcd-a.example:4001; {node} stands for each master's Node name",
    )
    ca: str | None = Field(default=None, description="file with the authority's certificate; ~ and $VARIABLES expanded")
    certificate: str | None = Field(default=None, description="file with the client certificate")
    key: str | None = Field(default=None, description="file with its key")


class ControlPlanePolicy(Value):
    """What must hold before and after each master is replaced; read from the cluster's policy, not a group's."""

    etcd: dict[str, EtcdAccess] = Field(default={}, description="etcd clusters by name; kops has main and events")
    without_probe: bool = Field(
        default=False, description="replace masters although nobody asks etcd: Nodes Ready and API ready must do"
    )
    allow_outage: bool = Field(
        default=False, description="fewer than three masters: accept that the API is away while one is replaced"
    )
