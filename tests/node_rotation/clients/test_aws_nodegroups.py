"""EKS' answers about node groups, as botocore reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.stub import Stubber

from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_models import share
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
    session = share(boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-central-1"))
    calls = Calls(session)
    begun = {"id": OURS, "status": "Successful", "type": "VersionUpdate", "createdAt": datetime.now(UTC)}
    with Stubber(calls.eks) as stub:
        stub.add_client_error("describe_update", "ResourceNotFoundException", "No update found", http_status_code=404)
        stub.add_response("describe_update", {"update": begun})
        stub.add_response("describe_nodegroup", {"nodegroup": GROUP})
        group = Nodegroups(calls).managed_group("dev", "workers", [LOST, OURS])
    assert (group.unknown, [update.id for update in group.updates]) == ((LOST,), [OURS])


def test_a_group_that_eks_is_still_making_has_no_auto_scaling_group_yet() -> None:
    session = share(boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-central-1"))
    calls = Calls(session)
    made = {key: value for key, value in GROUP.items() if key != "resources"}
    with Stubber(calls.eks) as stub:
        stub.add_response("describe_nodegroup", {"nodegroup": {**made, "status": "CREATING"}})
        stub.add_response("list_updates", {"updateIds": []})
        group = Nodegroups(calls).managed_group("dev", "workers")
    assert (group.status, group.asg) == ("CREATING", "")


def test_an_update_that_fails_as_we_look_is_told_with_what_eks_found_at_the_group() -> None:
    session = share(boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-central-1"))
    calls = Calls(session)
    failed: list[str] = []  # EKS fails the update after whatever is asked first

    def describe(params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        update = {"id": OURS, "status": "Failed" if failed else "InProgress", "createdAt": datetime.now(UTC)}
        issue = {"code": "AsgInstanceLaunchFailures", "message": "no capacity", "resourceIds": ["eks-workers-1"]}
        health = {"status": "DEGRADED", "health": {"issues": [issue]}} if failed else {"status": "UPDATING"}
        asked = {"/node-groups/workers": {"nodegroup": GROUP | health}, f"/updates/{OURS}": {"update": update}}
        answer = next((a for path, a in asked.items() if params["url_path"].endswith(path)), {"updateIds": [OURS]})
        failed.append(params["url_path"])
        return AWSResponse(params["url"], 200, {}, None), answer

    calls.eks.meta.events.register("before-call.eks", describe)
    client = Nodegroups(calls)
    looks = [client.managed_group("dev", "workers", [OURS]) for _ in range(2)]
    told = [(look.updates[0].failed, [issue.code for issue in look.issues]) for look in looks]
    assert told == [(False, ["AsgInstanceLaunchFailures"]), (True, ["AsgInstanceLaunchFailures"])]
