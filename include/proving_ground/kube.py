"""How the ground's own parts talk to its API servers: under a name of their own, with bounded calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernetes import client, config

from proving_ground.control_plane.cluster import GROUND

if TYPE_CHECKING:
    from proving_ground.control_plane.cluster import ControlPlane

TIMEOUT_S = 10.0


def connect(cluster: ControlPlane) -> client.ApiClient:
    """A client of this cluster, known to its audit log as the proving ground."""
    configuration = client.Configuration()
    config.load_kube_config(str(cluster.kubeconfig_of(GROUND)), client_configuration=configuration)
    # The machine's own proxy settings are not for loopback.
    configuration.proxy = None
    return client.ApiClient(configuration)
