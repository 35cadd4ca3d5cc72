"""Access to an EKS cluster by its name alone: endpoint and certificate from EKS, tokens from STS."""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import Callable

from airflow.providers.amazon.aws.hooks.eks import EksHook
from airflow.providers.amazon.aws.utils.eks_get_token import fetch_access_token_for_cluster
from kubernetes.client import ApiClient, Configuration

TOKEN_S = 600.0
"""EKS takes a token for 15 minutes (aws-iam-authenticator, token.go); ours are renewed after ten."""


class EksAccess:
    """How to reach one EKS cluster.

    :param name: the cluster's name in EKS.
    :param aws_conn_id: an Airflow connection of type ``aws``.
    :param region: the cluster's region.
    :param clock: epoch seconds.
    """

    def __init__(self, name: str, aws_conn_id: str, region: str, clock: Callable[[], float] = time.time) -> None:
        self._name, self._region, self._clock = name, region, clock
        self._hook = EksHook(aws_conn_id=aws_conn_id, region_name=region)
        self._made_at: float | None = None

    def api_client(self) -> ApiClient:
        """A client whose token renews itself before a request that would come too late."""
        said = self._hook.get_conn().describe_cluster(name=self._name)["cluster"]
        with tempfile.NamedTemporaryFile(suffix=".crt", delete=False) as certificate:
            certificate.write(base64.b64decode(said["certificateAuthority"]["data"]))
        configuration = Configuration(host=said["endpoint"])
        configuration.ssl_ca_cert = certificate.name
        configuration.api_key_prefix["authorization"] = "Bearer"
        configuration.refresh_api_key_hook = self._renew
        return ApiClient(configuration)

    def _renew(self, configuration: Configuration) -> None:
        if self._made_at is not None and self._clock() - self._made_at < TOKEN_S:
            return
        configuration.api_key["authorization"] = self._token()
        self._made_at = self._clock()

    def _token(self) -> str:
        # The token is a signed request to the regional STS endpoint; it is never sent by us, only by EKS.
        session = self._hook.get_session(region_name=self._region)
        suffix = session.get_partition_for_region(self._region)
        domain = {"aws-cn": "amazonaws.com.cn"}.get(suffix, "amazonaws.com")
        url = f"https://sts.{self._region}.{domain}/?Action=GetCallerIdentity&Version=2011-06-15"
        return fetch_access_token_for_cluster(self._name, url, region_name=self._region, session=session)
