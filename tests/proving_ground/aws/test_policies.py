"""What a policy allows, by the rules that IAM's user guide states: read, no server asked."""

from __future__ import annotations

from typing import Any

import pytest

from proving_ground.aws.policies import Decision, Demand, PolicyError, decide, parse

ALLOWED, IMPLICIT, EXPLICIT = Decision.ALLOWED, Decision.IMPLICIT_DENY, Decision.EXPLICIT_DENY
MACHINE = "arn:aws:ec2:eu-central-1:123456789012:instance/i-1"
GROUP = "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:7e1:autoScalingGroupName/web"
OWNED = {"aws:ResourceTag/kubernetes.io/cluster/dev": "owned"}


def statement(**said: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "ec2:TerminateInstances", "Resource": "*", **said}


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def said(demand: Demand, *statements: dict[str, Any]) -> Decision:
    return decide([parse(document(*statements))], demand)


TERMINATE = Demand("ec2:TerminateInstances", MACHINE)


def test_what_nobody_allows_is_denied() -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html"""
    assert said(TERMINATE) is IMPLICIT
    assert said(TERMINATE, statement(Action="ec2:StopInstances")) is IMPLICIT
    assert said(TERMINATE, statement()) is ALLOWED


def test_a_deny_outweighs_every_allow_of_every_policy() -> None:
    """The same page: an explicit deny in any policy overrides any allows."""
    allow, deny = parse(document(statement())), parse(document(statement(Effect="Deny", Action="ec2:*")))
    assert decide([allow, deny], TERMINATE) is decide([deny, allow], TERMINATE) is EXPLICIT
    conditioned = statement(Effect="Deny", Condition={"StringEquals": OWNED})
    assert said(TERMINATE, statement(), conditioned) is ALLOWED


@pytest.mark.parametrize(
    ("pattern", "decision"),
    [
        ("ec2:TerminateInstances", ALLOWED),
        ("EC2:terminateinstances", ALLOWED),
        ("ec2:Terminate*", ALLOWED),
        ("ec2:?erminateInstances", ALLOWED),
        ("*", ALLOWED),
        ("ec2:TerminateInstance", IMPLICIT),
        ("autoscaling:TerminateInstances", IMPLICIT),
    ],
)
def test_actions(pattern: str, decision: Decision) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html"""
    assert said(TERMINATE, statement(Action=[pattern])) is decision


@pytest.mark.parametrize(
    ("pattern", "resource", "decision"),
    [
        ("arn:aws:ec2:*:123456789012:instance/*", MACHINE, ALLOWED),
        ("arn:aws:ec2:*:123456789012:instance/i-?", MACHINE, ALLOWED),
        ("arn:aws:ec2:*:123456789012:instance/I-1", MACHINE, IMPLICIT),
        ("arn:aws:ec2:*:123456789012:volume/*", MACHINE, IMPLICIT),
        ("arn:aws:ec2:*:210987654321:instance/*", MACHINE, IMPLICIT),
        ("arn:aws:ec2:eu-west-1:*:instance/*", MACHINE, IMPLICIT),
        ("arn:aws:ec2:eu*1:123456789012:instance/i-1", MACHINE, ALLOWED),
        ("arn:aws:autoscaling:*:123456789012:autoScalingGroup:*", GROUP, ALLOWED),
        ("arn:aws:autoscaling:*:123456789012:auto*Name/web", GROUP, IMPLICIT),
        ("arn:aws:ssm:*::parameter/aws/*", "arn:aws:ssm:eu-central-1::parameter/aws/service/a", ALLOWED),
        ("arn:aws:ssm:*::parameter/aws/*", "arn:aws:ssm:eu-central-1:123456789012:parameter/aws/a", IMPLICIT),
        ("*", "*", ALLOWED),
        ("arn:aws:ec2:*:123456789012:instance/*", "*", IMPLICIT),
    ],
)
def test_resources(pattern: str, resource: str, decision: Decision) -> None:
    """Case counts; a wildcard stays within its part of the ARN unless it ends it. Without resources only ``*`` will do.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    assert said(Demand("ec2:TerminateInstances", resource), statement(Resource=pattern)) is decision


@pytest.mark.parametrize(
    ("condition", "context", "decision"),
    [
        ({"StringEquals": OWNED}, OWNED, ALLOWED),
        ({"StringEquals": OWNED}, {}, IMPLICIT),
        ({"StringEquals": OWNED}, {"aws:ResourceTag/kubernetes.io/cluster/other": "owned"}, IMPLICIT),
        ({"StringEquals": OWNED}, dict.fromkeys(OWNED, "Owned"), IMPLICIT),
        ({"StringEquals": OWNED}, {"AWS:resourcetag/Kubernetes.io/cluster/dev": "owned"}, ALLOWED),
        ({"StringEquals": dict.fromkeys(OWNED, ["shared", "owned"])}, OWNED, ALLOWED),
        ({"StringEquals": dict.fromkeys(OWNED, "own*")}, OWNED, IMPLICIT),
        ({"StringEquals": {**OWNED, "ec2:CreateAction": "RunInstances"}}, OWNED, IMPLICIT),
        ({"ArnLike": {"ec2:LaunchTemplate": "arn:*:ec2:*:*:launch-template/*"}}, OWNED, IMPLICIT),
        (
            {"ArnLike": {"ec2:LaunchTemplate": "arn:aws:ec2:*:123456789012:launch-template/*"}},
            {"ec2:LaunchTemplate": "arn:aws:ec2:eu-central-1:123456789012:launch-template/lt-1"},
            ALLOWED,
        ),
        (
            {"ArnLike": {"ec2:LaunchTemplate": "arn:aws:*:launch-template/*"}},
            {"ec2:LaunchTemplate": "arn:aws:ec2:eu-central-1:123456789012:launch-template/lt-1"},
            IMPLICIT,
        ),
    ],
)
def test_conditions(condition: dict[str, Any], context: dict[str, str], decision: Decision) -> None:
    """All keys have to hold, of a key's values one; a key that the request lacks never holds.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    """
    demand = Demand("ec2:TerminateInstances", MACHINE, context)
    assert said(demand, statement(Condition=condition)) is decision


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"Condition": {"StringLike": OWNED}}, "the operator StringLike is not evaluated here"),
        ({"Condition": {"StringEquals": {"aws:RequestTag/team": "a"}}}, "aws:RequestTag/team is not known here"),
        ({"Condition": {"StringEquals": dict.fromkeys(OWNED, "${aws:username}")}}, "variables"),
        ({"Resource": "arn:aws:ec2:*:*:instance/${aws:username}"}, "variables"),
        ({"NotAction": "ec2:*"}, "NotAction is not evaluated here"),
        ({"Effect": "allow"}, "neither Allow nor Deny"),
        ({"Resource": "i-1"}, "whole ARN"),
        ({"Resource": "arn:aws:ec2:*"}, "whole ARN"),
    ],
)
def test_what_is_not_evaluated_is_refused_by_name(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(PolicyError, match="statement Ours") as caught:
        parse(document(statement(Sid="Ours", **changed)))
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"Statement": []}', '{"Version": "2012-10-17"}'])
def test_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        parse(text)
