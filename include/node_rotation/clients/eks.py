"""EKS' API servers: address and certificate from AWS, and a token that never gets old."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kubernetes.config import new_client_from_config_dict

from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_errors import translated
from node_rotation.errors import BadInputError, BlockedError, GoneError, RotationError
from node_rotation.outcome import Blocked

if TYPE_CHECKING:
    import boto3
    from kubernetes.client import ApiClient, Configuration

REFRESH_AFTER_S = 600.0  # a token is good for 15 minutes from the moment its URL was signed
URL_EXPIRES_S = 60
_CLUSTER_HEADER = "x-k8s-aws-id"


class EksToken:
    """Signs a new token before the old one ends, so that a run of many hours is never refused.

    The kubernetes package asks its configuration's ``refresh_api_key_hook`` before each request; without one, a
    client fails after 15 minutes (kubernetes-client/python#741).
    A token is a presigned STS GetCallerIdentity URL:
    https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster

    :param session: whose identity the API server sees.
    :param cluster: the EKS cluster's name, which is signed into the token.
    :param monotonic: seconds that only grow.
    """

    def __init__(self, session: boto3.Session, cluster: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._cluster, self._monotonic = cluster, monotonic
        self._sts: Any = session.client("sts")
        self._sts.meta.events.register("before-sign.sts.GetCallerIdentity", self._name_cluster)
        self._lock = threading.Lock()
        self._made_at, self._token = float("-inf"), ""

    def __call__(self) -> str:
        """A token with at least a few minutes left."""
        with self._lock:
            if self._monotonic() - self._made_at >= REFRESH_AFTER_S:
                self._token, self._made_at = self._signed(), self._monotonic()
            return self._token

    def refresh(self, configuration: Configuration) -> None:
        """The ``refresh_api_key_hook``."""
        configuration.api_key["BearerToken"] = f"Bearer {self()}"

    def _signed(self) -> str:
        with translated("sts", "GetCallerIdentity", f"a token for the EKS cluster {self._cluster}"):
            url = self._sts.generate_presigned_url("get_caller_identity", ExpiresIn=URL_EXPIRES_S, HttpMethod="GET")
        return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")

    def _name_cluster(self, request: Any, **_: Any) -> None:
        request.headers[_CLUSTER_HEADER] = self._cluster


def api_client(session: boto3.Session, cluster: str) -> ApiClient:
    """A client for an EKS cluster's API server.

    :param session: may call eks:DescribeCluster and has an access entry.
    :param cluster: the EKS cluster's name.
    :raises BadInputError: if there is no such cluster.
    :raises BlockedError: if the cluster has no endpoint yet, or is none that the policy names.
    :raises RotationError: whatever AWS refused.
    """
    found = _describe(session, cluster)
    endpoint = found.get("endpoint")
    if not endpoint:
        raise _no_endpoint(cluster, found.get("status", "unknown"))
    token = EksToken(session, cluster)
    authority = found.get("certificateAuthority", {}).get("data", "")
    client = new_client_from_config_dict(_kubeconfig(cluster, endpoint, authority, token()))
    client.configuration.refresh_api_key_hook = token.refresh
    return client


def _describe(session: boto3.Session, cluster: str) -> Any:
    calls = Calls(session)
    try:
        with translated("eks", "DescribeCluster", f"EKS cluster {cluster}"):
            return calls.eks.describe_cluster(name=cluster)["cluster"]
    except GoneError as error:
        problem = f"there is no EKS cluster {cluster!r} in {session.region_name}."
        remedy = "Correct it, or the region and account of the cluster."
        raise BadInputError("kubernetes.eks_cluster", problem, remedy) from error


def _no_endpoint(cluster: str, status: str) -> RotationError:
    reason = f"the EKS cluster has no API server endpoint, its status is {status}"
    return BlockedError(Blocked(reason, (f"EKS cluster {cluster}",), "Wait until it is ACTIVE."))


def _kubeconfig(cluster: str, endpoint: str, authority: str, token: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": endpoint, "certificate-authority-data": authority}}],
        "users": [{"name": cluster, "user": {"token": token}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
        "current-context": cluster,
    }
