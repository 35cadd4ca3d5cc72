"""How the clusters of a fleet are reached: AWS accounts and API servers."""

from __future__ import annotations

from pydantic import Field

from node_rotation.configuration import shapes
from node_rotation.model import Value


class AwsAccess(Value):
    """How to reach a cluster's AWS account: an Airflow connection, or boto3's own chain for the CLI."""

    region: str = Field(pattern=shapes.REGION.pattern, description="e.g. eu-central-1")
    connection: str = Field(default="aws_default", description="Airflow connection id")
    profile: str | None = Field(default=None, examples=["prod"], description="for the CLI: a profile of the AWS config")

    def __str__(self) -> str:
        """As messages call it."""
        return f"{self.region} (connection {self.connection}, profile {self.profile or 'of the shell'})"


class Account(Value):
    """One AWS account and region of the fleet, and the clusters that are reached there."""

    aws: AwsAccess
    clusters: tuple[str, ...]

    def __str__(self) -> str:
        """As messages call it."""
        return f"account {self.aws} of {', '.join(self.clusters)}"


class KubernetesAccess(Value):
    """How to reach a cluster's API server."""

    connection: str = Field(default="kubernetes_default", description="Airflow connection id")
    kubeconfig: str | None = Field(
        default=None, examples=["$HOME/.kube/config"], description="for the CLI; environment variables are expanded"
    )
    context: str | None = Field(default=None, examples=["prod-1"], description="in the kubeconfig")
    eks_cluster: str | None = Field(
        default=None, examples=["prod-1"], description="an EKS cluster's name: endpoint and token come from AWS instead"
    )
