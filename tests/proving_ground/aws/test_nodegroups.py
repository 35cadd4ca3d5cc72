"""EKS' managed node groups over HTTP; how an update goes is told in tests/node_rotation/testing/test_managed_groups.py.

https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupVersion.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_rotation.testing.managed_values import Nodegroup

from .support import Aws, refusal, until

OURS = {"clusterName": "http", "nodegroupName": "apps"}


@pytest.fixture
def eks(aws: Aws) -> Any:
    """A client, and a node group ``apps`` of a cluster that nobody plays an API server for."""
    group = aws.group(1)
    made = Nodegroup("http", "apps", group, "AL2023_x86_64_STANDARD", "1.36", "1.36.1-20261101", max_unavailable=2)
    aws.server.world.eks.create(made)
    return aws.client("eks")


def ended(eks: Any, update: dict[str, Any]) -> Callable[[], dict[str, Any] | None]:
    def look() -> dict[str, Any] | None:
        found = eks.describe_update(name="http", nodegroupName="apps", updateId=update["id"])["update"]
        return found if found["status"] != "InProgress" else None

    return look


def test_a_group_is_described_with_its_auto_scaling_group(eks: Any) -> None:
    """https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeNodegroup.html"""
    found = eks.describe_nodegroup(**OURS)["nodegroup"]
    assert (found["status"], found["amiType"], found["version"]) == ("ACTIVE", "AL2023_x86_64_STANDARD", "1.36")
    assert found["updateConfig"] == {"maxUnavailable": 2, "updateStrategy": "DEFAULT"}
    assert found["scalingConfig"]["desiredSize"] == 1
    assert len(found["resources"]["autoScalingGroups"]) == 1
    assert eks.list_nodegroups(clusterName="http")["nodegroups"] == ["apps"]


def test_a_configuration_is_an_update_that_can_be_followed(eks: Any) -> None:
    """One update at a time: another one is refused with ResourceInUseException.

    https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupConfig.html
    https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeUpdate.html
    """
    config = {"maxUnavailablePercentage": 50, "updateStrategy": "MINIMAL"}
    update = eks.update_nodegroup_config(**OURS, updateConfig=config, scalingConfig={"maxSize": 7})["update"]
    assert (update["type"], update["status"]) == ("ConfigUpdate", "InProgress")
    assert update["id"] in eks.list_updates(name="http", nodegroupName="apps")["updateIds"]
    busy = refusal(eks.update_nodegroup_config, **OURS, updateConfig={"maxUnavailable": 1})
    assert (busy[0], busy[2]) == ("ResourceInUseException", 409)
    assert until(ended(eks, update))["status"] == "Successful"
    found = eks.describe_nodegroup(**OURS)["nodegroup"]
    assert found["updateConfig"] == config
    assert found["scalingConfig"]["maxSize"] == 7


def test_a_group_or_an_update_that_is_not_there_is_refused(eks: Any) -> None:
    """https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeUpdate.html, ResourceNotFoundException"""
    assert refusal(eks.describe_nodegroup, clusterName="http", nodegroupName="none")[0] == "ResourceNotFoundException"
    missing = refusal(eks.describe_update, name="http", nodegroupName="apps", updateId="none")
    assert (missing[0], missing[2]) == ("ResourceNotFoundException", 404)


def test_a_release_that_does_not_exist_is_refused(eks: Any) -> None:
    """https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupVersion.html, InvalidParameterException"""
    code, said, _ = refusal(eks.update_nodegroup_version, **OURS, version="1.36", releaseVersion="1.36.9-1")
    assert code == "InvalidParameterException"
    assert "1.36.9-1" in said
    assert eks.describe_nodegroup(**OURS)["nodegroup"]["status"] == "ACTIVE"


def test_an_update_without_an_api_server_fails_by_eks_own_code(aws: Aws, eks: Any) -> None:
    """ClusterUnreachable, an update that failed; the same clientRequestToken is the same update.

    https://docs.aws.amazon.com/eks/latest/APIReference/API_ErrorDetail.html
    """
    world = aws.server.world
    known = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261108"
    with world.lock:
        image = world.images.register(known, owner="amazon")
        world.images.releases[image] = "1.36.2-20261108"
    asked = {**OURS, "version": "1.36", "releaseVersion": "1.36.2-20261108", "clientRequestToken": "one"}
    update = eks.update_nodegroup_version(**asked)["update"]
    over = until(ended(eks, update))
    assert (over["status"], over["errors"][0]["errorCode"]) == ("Failed", "ClusterUnreachable")
    assert eks.update_nodegroup_version(**asked)["update"]["id"] == update["id"]  # the same token: nothing new
