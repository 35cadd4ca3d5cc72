"""What may be done, asked without doing it."""

from __future__ import annotations

from .support import Aws, refusal


def deny(aws: Aws, service: str, action: str, code: str = "UnauthorizedOperation") -> None:
    aws.fault(kind="error", service=service, action=action, code=code, status=403)


def test_a_dry_run_does_nothing_and_says_that_it_would(aws: Aws) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html, DryRun"""
    image = aws.ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    launch = {"ImageId": image, "InstanceType": "m6i.large", "MinCount": 1, "MaxCount": 1}
    assert refusal(aws.ec2.run_instances, **launch, DryRun=True)[0] == "DryRunOperation"
    (instance,) = aws.ec2.run_instances(**launch)["Instances"]
    dry = {"InstanceIds": [instance["InstanceId"]], "DryRun": True}
    assert refusal(aws.ec2.terminate_instances, **dry)[::2] == ("DryRunOperation", 412)
    states = aws.ec2.describe_instances(InstanceIds=[instance["InstanceId"]])
    assert states["Reservations"][0]["Instances"][0]["State"]["Name"] in ("pending", "running")
    aws.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])


def test_a_denial_comes_before_the_dry_run(aws: Aws) -> None:
    """The error is UnauthorizedOperation where the permission is missing (same page)."""
    deny(aws, "ec2", "CreateTags")
    tags = {"Resources": ["i-00000000000000000"], "Tags": [{"Key": "a", "Value": "b"}], "DryRun": True}
    assert refusal(aws.ec2.create_tags, **tags)[0] == "UnauthorizedOperation"


def test_the_simulator_denies_what_would_be_denied(aws: Aws) -> None:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html"""
    deny(aws, "autoscaling", "DetachInstances", "AccessDenied")
    actions = ["autoscaling:DetachInstances", "autoscaling:AttachInstances"]
    answer = aws.client("iam").simulate_principal_policy(
        PolicySourceArn="arn:aws:iam::123456789012:role/r", ActionNames=actions
    )
    decided = {result["EvalActionName"]: result["EvalDecision"] for result in answer["EvaluationResults"]}
    assert decided == {actions[0]: "implicitDeny", actions[1]: "allowed"}


def test_the_quota_of_standard_vcpus(aws: Aws) -> None:
    """https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html"""
    quotas = aws.client("service-quotas")
    quota = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]
    assert (quota["Value"], quota["QuotaCode"]) == (1920.0, "L-1216C47A")
    unknown = refusal(quotas.get_service_quota, ServiceCode="ec2", QuotaCode="L-00000000")
    assert unknown[0] == "NoSuchResourceException"
