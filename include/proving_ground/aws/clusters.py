"""EKS and STS as far as a client needs them to reach a cluster.

Source: https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeCluster.html
"""

# Each method is one AWS operation; its documentation is AWS' own.
# ruff: noqa: D102
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.eks.responses import EKSResponse
from moto.sts.responses import TokenResponse

from proving_ground.aws.nodegroups import NodegroupPhysics
from proving_ground.aws.physics import ActionResult, Physics

if TYPE_CHECKING:
    from proving_ground.aws.world import KubernetesCluster


class ClusterPhysics(NodegroupPhysics, EKSResponse):  # type: ignore[misc]
    """Answers for the clusters that really run; anything else is moto's."""

    def describe_cluster(self) -> ActionResult:
        cluster = self.world.clusters.get(self.asked()["name"])
        return ActionResult({"cluster": self._shape(cluster)}) if cluster else super().describe_cluster()

    def list_clusters(self) -> ActionResult:
        return ActionResult({"clusters": sorted(self.world.clusters)})

    def _shape(self, cluster: KubernetesCluster) -> dict[str, Any]:
        return {
            "name": cluster.name,
            "arn": f"arn:aws:eks:{self.region}:{self.current_account}:cluster/{cluster.name}",
            "endpoint": cluster.endpoint,
            "certificateAuthority": {"data": cluster.certificate_authority},
            "version": cluster.version,
            "status": "ACTIVE",
            "platformVersion": "eks.1",
            "tags": {},
        }


class TokenPhysics(Physics, TokenResponse):  # type: ignore[misc]
    """STS: moto's own answers, with faults, expired keys and the log."""

    def assume_role(self) -> ActionResult:
        result = super().assume_role()
        answer: Any = result.result
        key, arn = answer["Credentials"].access_key_id, answer["AssumedRoleUser"]["Arn"]
        self.world.identities.assumed(key, arn, self.asked()["RoleArn"])
        return result
