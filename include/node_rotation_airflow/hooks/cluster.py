"""A Kubernetes connection of Airflow, or an EKS cluster behind an AWS one, as the client of a rotation."""

from __future__ import annotations

from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from kubernetes.client import ApiClient, Configuration

from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.fleet import Settings
from node_rotation_airflow.hooks.eks import EksAccess


class ClusterHook(KubernetesHook):
    """One cluster's API server.

    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``; unused for EKS.
    :param cluster_context: a context of its kubeconfig.
    :param eks: where endpoint and token come from instead.
    """

    def __init__(
        self,
        kubernetes_conn_id: str | None = "kubernetes_default",
        cluster_context: str | None = None,
        eks: EksAccess | None = None,
        **kwargs: Any,
    ) -> None:
        # A configuration of its own: the provider's default writes into one shared by the whole process,
        # where the clusters of a triggerer would overwrite each other.
        kwargs.setdefault("client_configuration", Configuration())
        super().__init__(kubernetes_conn_id=kubernetes_conn_id, cluster_context=cluster_context, **kwargs)
        self._eks = eks

    @classmethod
    def of(cls, settings: Settings) -> ClusterHook:
        """The hook that a cluster's settings ask for."""
        access, aws = settings.cluster.kubernetes, settings.cluster.aws
        if access.eks_cluster:
            return cls(kubernetes_conn_id=None, eks=EksAccess(access.eks_cluster, aws.connection, aws.region))
        return cls(kubernetes_conn_id=access.connection, cluster_context=access.context)

    def get_conn(self) -> ApiClient:
        """The API client; an EKS token in it is renewed before it runs out."""
        return self._eks.api_client() if self._eks else super().get_conn()

    def cluster(self) -> KubernetesCluster:
        """The client."""
        return KubernetesCluster(self.get_conn())
