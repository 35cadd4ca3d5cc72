"""docs/iam-policy.json: every call that the AWS client makes is allowed, and nothing else without a reason."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from node_rotation.checkup import rights as checkup

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "include" / "node_rotation" / "clients"
STATEMENTS: list[dict[str, Any]] = json.loads((ROOT / "docs" / "iam-policy.json").read_text())["Statement"]
SERVICES = {"autoscaling", "ec2", "ssm", "eks", "sts", "iam", "servicequotas", "elasticloadbalancing"}
NEEDS_NO_RIGHT = {"sts:GetCallerIdentity"}

NOT_CALLED_BY_US = {
    # Checked by EC2 when a template says resolve:ssm:, and by Auto Scaling when a group gets a template version:
    # https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-api-permissions.html
    "ssm:GetParameters",
    "ec2:RunInstances",
    "iam:PassRole",
}


def calls() -> Iterator[str]:
    """Every `service.operation` of the clients' source, as IAM writes it."""
    for path in sorted(CLIENTS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield from _action(node, node.func)


def _action(call: ast.Call, func: ast.Attribute) -> Iterator[str]:
    if not isinstance(func.value, ast.Attribute):
        return
    service = func.value.attr.removesuffix("_once")
    ours = isinstance(func.value.value, ast.Attribute) and func.value.value.attr == "_calls"
    assert service in SERVICES or not ours, f"a service this test does not know: {service}"
    if service not in SERVICES:
        return
    operation = func.attr
    if operation == "get_paginator":
        (name,) = call.args
        assert isinstance(name, ast.Constant), "a paginator's name that can't be read from the source"
        operation = str(name.value)
    yield f"{service}:{''.join(word.capitalize() for word in operation.split('_'))}"


def _resources(statement: dict[str, Any]) -> list[str]:
    resource = statement["Resource"]
    return [resource] if isinstance(resource, str) else list(resource)


def allowed(statement: dict[str, Any]) -> set[str]:
    actions = statement["Action"]
    return {actions} if isinstance(actions, str) else set(actions)


GRANTED = {action for statement in STATEMENTS for action in allowed(statement)}


def test_what_the_clients_call_is_allowed() -> None:
    made = set(calls())
    assert len(made) > 15, f"the source is written differently now, these were found: {sorted(made)}"
    assert made - GRANTED == NEEDS_NO_RIGHT


def test_nothing_is_allowed_that_is_not_called_or_explained() -> None:
    assert GRANTED - set(calls()) == NOT_CALLED_BY_US


def test_the_doctor_asks_for_what_is_granted_and_a_rotation_needs() -> None:
    of_groups = {*checkup.READS, *checkup.GROUP_CHANGES, *checkup.MACHINE_CHANGES, *checkup.TEMPLATE_CHANGES}
    of_groups |= {*checkup.TARGET_ACTIONS, *checkup.NODEGROUP_ACTIONS}
    asked = {*of_groups, *checkup.FREEZE_READS, *checkup.FREEZE_CHANGES, *checkup.LAUNCHES}
    of_the_doctor = {"ec2:DescribeSubnets", "servicequotas:GetServiceQuota", "iam:SimulatePrincipalPolicy"}
    of_the_doctor |= {"iam:GetInstanceProfile"}
    tried_by_reading = {"ssm:GetParameter", "eks:DescribeCluster"}
    assert GRANTED - asked == {"ssm:GetParameters"} | of_the_doctor | tried_by_reading
    assert asked <= GRANTED


def test_messages_tell_of_the_tag_for_just_the_actions_that_are_bound_to_it() -> None:
    asks = {"StringEquals": {"aws:ResourceTag/kubernetes.io/cluster/CLUSTER": "owned"}}
    bound = [statement for statement in STATEMENTS if "ResourceTag" in str(statement.get("Condition"))]
    assert [statement["Condition"] for statement in bound] == [asks] * len(bound)
    assert {action for statement in bound for action in allowed(statement)} == checkup.BOUND_TO_THE_TAG


def test_messages_name_the_statements_that_let_a_group_get_a_template_version() -> None:
    of_launches = {s["Sid"]: s["Action"] for s in STATEMENTS if s["Sid"].startswith("AwsChecksWhoMay")}
    assert {sid: action for action, (sid, _) in checkup.LAUNCHES.items()} == of_launches


def test_no_action_is_a_wildcard_and_every_statement_allows() -> None:
    assert not [action for action in GRANTED if "*" in action]
    assert {statement["Effect"] for statement in STATEMENTS} == {"Allow"}


def test_changes_are_bound_to_the_machines_of_one_cluster() -> None:
    for statement in STATEMENTS:
        words = {action.split(":")[1] for action in allowed(statement)}
        if all("parameter/node-rotation/" in resource for resource in statement["Resource"]):
            continue  # nobody else's, by name
        if not all(word.startswith(("Describe", "Get", "Simulate")) for word in words):
            named = all("CLUSTER" in resource or "TARGET_GROUPS" in resource for resource in _resources(statement))
            assert "Condition" in statement or named, statement["Sid"]


def test_the_line_of_the_page_fills_in_every_placeholder() -> None:
    page = (ROOT / "docs" / "connections.md").read_text()
    (line,) = re.findall(r"^ *(sed .*docs/iam-policy\.json) > policy\.json$", page, re.MULTILINE)
    filled = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert json.loads(filled)["Statement"]
    assert not re.findall(r".*\b(?:ACCOUNT|CLUSTER|NODE_ROLE|TARGET_GROUPS)\b.*", filled)
