"""Both clients of a cluster by the standard chains: boto3's for AWS, a kubeconfig or EKS for Kubernetes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import yaml
from botocore.exceptions import BotoCoreError
from kubernetes.config import ConfigException, new_client_from_config

from node_rotation.clients import aws_models, eks
from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.aws_account import AwsAccount
from node_rotation.clients.aws_errors import translate_core
from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.clients.kubernetes_review import KubernetesReview
from node_rotation.clients.text import short
from node_rotation.errors import BadInputError, BlockedError
from node_rotation.outcome import Blocked

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

    from node_rotation.checkup.rights import Access, Account
    from node_rotation.fleet import AwsAccess, KubernetesAccess, Settings
    from node_rotation.world.clients import Cloud, Cluster


def connect(settings: Settings) -> tuple[Cloud, Cluster]:
    """Clients for the cluster that the settings are for; nothing is changed, credentials are not yet tried.

    :raises BadInputError: a kubeconfig or context that can't be used; names it.
    :raises BlockedError: no such AWS profile, EKS refuses, or a kubeconfig's exec plugin gives no credentials.
    """
    session = aws_session(settings)
    return AwsCloud(session), KubernetesCluster(kubernetes_client(settings, session))


def account(access: AwsAccess) -> Cloud:
    """The client of one account and region; nothing is changed, credentials are not yet tried.

    :raises BlockedError: there is no such profile.
    """
    return AwsCloud(_session(access, str(access)))


def askers(settings: Settings) -> tuple[Account, Access]:
    """What a check-up asks of the same account and API server; nothing here can change anything.

    :raises BadInputError: as :func:`connect`.
    :raises BlockedError: as :func:`connect`.
    """
    session = aws_session(settings)
    return AwsAccount(session), KubernetesReview(kubernetes_client(settings, session))


def aws_asker(settings: Settings) -> Account:
    """What a check-up asks of the account alone.

    :raises BlockedError: there is no such profile.
    """
    return AwsAccount(aws_session(settings))


def aws_session(settings: Settings) -> boto3.Session:
    """boto3's standard chain with the fleet's region and profile.

    :raises BlockedError: there is no such profile.
    """
    return _session(settings.cluster.aws, f"cluster {settings.name}")


def _session(access: AwsAccess, what: str) -> boto3.Session:
    try:
        return aws_models.share(boto3.Session(region_name=access.region, profile_name=access.profile))
    except BotoCoreError as error:
        raise translate_core(error, "sts", "GetCallerIdentity", what) from error


def kubernetes_client(settings: Settings, session: boto3.Session) -> ApiClient:
    """The API client that the fleet file describes.

    :param session: for ``eks_cluster``: endpoint and token come from AWS.
    :raises BadInputError: a kubeconfig or context that can't be used.
    """
    access = settings.cluster.kubernetes
    if access.eks_cluster:
        return eks.api_client(session, access.eks_cluster)
    return _from_kubeconfig(settings.name, access)


def _from_kubeconfig(cluster: str, access: KubernetesAccess) -> ApiClient:
    path = os.path.expanduser(os.path.expandvars(access.kubeconfig)) if access.kubeconfig else None
    where = f"kubernetes.kubeconfig of cluster {cluster}"
    if path and "$" in path:
        raise BadInputError(
            where,
            f"{path} names an environment variable that is not set.",
            "Set it, or name the file in the fleet file.",
        )
    if path and not os.path.isfile(path):
        raise BadInputError(
            where,
            f"there is no file {path}.",
            "Give the path of a kubeconfig there, or leave it out: then KUBECONFIG counts.",
        )
    try:
        with _errors_logged() as logged:
            client = new_client_from_config(config_file=path, context=access.context, persist_config=False)
    except (ConfigException, yaml.YAMLError, OSError, ValueError) as error:
        known = f"{path or 'the default kubeconfig'} can't be used: {short(error)}."
        raise BadInputError(where, known, "Check that file, and kubernetes.context in the fleet file.") from error
    except (TypeError, AttributeError, LookupError) as error:  # the kubernetes package expects its shape
        known = f"{path or 'the default kubeconfig'} is no kubeconfig."
        raise BadInputError(where, known, "Write one with kubectl config view --raw, or name another file.") from error
    if not str(client.configuration.host).startswith(("https://", "http://")):
        known = f"{path or 'the default kubeconfig'} names no server to talk to."
        raise BadInputError(where, known, "Write server: https://... into its cluster.")
    if logged and not (client.configuration.api_key or client.configuration.cert_file):
        reason = f"no Kubernetes credentials: the kubeconfig's exec plugin failed: {short(logged[0])}"
        remedy = "Run it by hand: see that it is installed here and that what it logs in with is good."
        raise BlockedError(Blocked(reason, (where,), remedy))
    return client


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """What the kubernetes package logs instead of raising: it goes on without credentials if an exec plugin fails."""
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(handler)
