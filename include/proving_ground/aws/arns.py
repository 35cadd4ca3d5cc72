"""Names of what Auto Scaling and EKS give a name of their own making."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5


def group(region: str, account: str, name: str, unique: str = "") -> str:
    """An Auto Scaling group's ARN.

    :param unique: instead of the id that AWS made for it.
    """
    made = unique or str(uuid5(NAMESPACE_URL, name))
    return f"arn:aws:autoscaling:{region}:{account}:autoScalingGroup:{made}:autoScalingGroupName/{name}"


def nodegroup(region: str, account: str, cluster: str, name: str) -> str:
    """The ARN of a managed node group."""
    resource = f"{region}:{account}:nodegroup/{cluster}/{name}"
    return f"arn:aws:eks:{resource}/{uuid5(NAMESPACE_URL, resource)}"
