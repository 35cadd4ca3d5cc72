"""A Kubernetes connection of Airflow, or an EKS cluster behind an AWS one, as the client of a rotation."""

from __future__ import annotations

from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException

from node_rotation.clients import eks
from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.clients.text import short
from node_rotation.errors import BadInputError
from node_rotation.fleet import Settings
from node_rotation_airflow.hooks.aws import AwsCloudHook
from node_rotation_airflow.hooks.missing import NoConnectionError


class ClusterHook(KubernetesHook):
    """One cluster's API server.

    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``; unused for EKS.
    :param cluster_context: a context of its kubeconfig.
    :param eks_cluster: an EKS cluster's name: endpoint and token come from AWS instead.
    :param aws: the AWS connection for that.
    """

    def __init__(
        self,
        kubernetes_conn_id: str | None = "kubernetes_default",
        cluster_context: str | None = None,
        eks_cluster: str | None = None,
        aws: AwsCloudHook | None = None,
        **kwargs: Any,
    ) -> None:
        # A configuration of its own: the provider's default writes into one shared by the whole process,
        # where the clusters of a triggerer would overwrite each other.
        kwargs.setdefault("client_configuration", Configuration())
        super().__init__(kubernetes_conn_id=kubernetes_conn_id, cluster_context=cluster_context, **kwargs)
        self._eks_cluster, self._aws = eks_cluster, aws

    @classmethod
    def of(cls, settings: Settings) -> ClusterHook:
        """The hook that a cluster's settings ask for."""
        access, account = settings.cluster.kubernetes, settings.cluster.aws
        if access.eks_cluster:
            aws = AwsCloudHook(aws_conn_id=account.connection, region_name=account.region)
            return cls(kubernetes_conn_id=None, eks_cluster=access.eks_cluster, aws=aws)
        return cls(kubernetes_conn_id=access.connection, cluster_context=access.context)

    def get_conn(self) -> ApiClient:
        """The API client; an EKS token in it is renewed before it runs out."""
        if self._eks_cluster and self._aws:
            return eks.api_client(self._aws.session(), self._eks_cluster)
        return super().get_conn()

    def cluster(self) -> KubernetesCluster:
        """The client.

        :raises NoConnectionError: if there is no such connection.
        :raises BadInputError: if it can't be used.
        """
        try:
            return KubernetesCluster(self.get_conn())
        except AirflowNotFoundException as error:
            raise NoConnectionError(str(self.conn_id), "kubernetes.connection") from error
        except (AirflowException, ConfigException, yaml.YAMLError) as error:
            remedy = "Correct its kubeconfig, or kubernetes.context in the fleet file."
            raise BadInputError(f"connection {self.conn_id}", f"can't be used: {short(error)}.", remedy) from error
