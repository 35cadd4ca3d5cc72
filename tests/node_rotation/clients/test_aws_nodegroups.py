"""EKS' answers about node groups, as botocore reads them."""

from __future__ import annotations

from datetime import UTC, datetime

import boto3
from botocore.stub import Stubber

from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_nodegroups import Nodegroups

LOST, OURS = "00000000-0000-4000-8000-000000000000", "11111111-1111-4111-8111-111111111111"
GROUP = {
    "clusterName": "dev",
    "nodegroupName": "workers",
    "status": "ACTIVE",
    "version": "1.36",
    "amiType": "AL2023_x86_64_STANDARD",
    "resources": {"autoScalingGroups": [{"name": "eks-workers-1"}]},
}


def test_an_update_of_a_group_that_was_made_anew_since_is_unknown_and_the_others_are_shown() -> None:
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-central-1")
    calls = Calls(session)
    begun = {"id": OURS, "status": "Successful", "type": "VersionUpdate", "createdAt": datetime.now(UTC)}
    with Stubber(calls.eks) as stub:
        stub.add_response("describe_nodegroup", {"nodegroup": GROUP})
        stub.add_client_error("describe_update", "ResourceNotFoundException", "No update found", http_status_code=404)
        stub.add_response("describe_update", {"update": begun})
        group = Nodegroups(calls).managed_group("dev", "workers", [LOST, OURS])
    assert (group.unknown, [update.id for update in group.updates]) == ((LOST,), [OURS])


def test_a_group_that_eks_is_still_making_has_no_auto_scaling_group_yet() -> None:
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-central-1")
    calls = Calls(session)
    made = {key: value for key, value in GROUP.items() if key != "resources"}
    with Stubber(calls.eks) as stub:
        stub.add_response("describe_nodegroup", {"nodegroup": {**made, "status": "CREATING"}})
        stub.add_response("list_updates", {"updateIds": []})
        group = Nodegroups(calls).managed_group("dev", "workers")
    assert (group.status, group.asg) == ("CREATING", "")
