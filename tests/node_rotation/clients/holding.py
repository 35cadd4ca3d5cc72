"""Whoever is held to docs/iam-policy.json, filled in for the cluster dev of an account of the proving ground."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import boto3

from node_rotation.clients.aws_models import share

TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
_POLICY = Path(__file__).parents[3] / "docs" / "iam-policy.json"
_NAMES = {"CLUSTER": "dev", "TARGET_GROUPS": "dev-*", "NODE_ROLE": "nodes"}


def filled(account: str) -> str:
    """The policy with its placeholders replaced."""
    text = _POLICY.read_text()
    for placeholder, name in {"ACCOUNT": account, **_NAMES}.items():
        text = text.replace(placeholder, name)
    return text


def hold(owner: boto3.Session, account: str, *without: str) -> boto3.Session:
    """A session that may do what the policy allows, less the statements of these names."""
    iam = owner.client("iam")
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName="node-rotation", AssumeRolePolicyDocument=TRUST)
    document = json.loads(filled(account))
    kept = [statement for statement in document["Statement"] if statement["Sid"] not in without]
    assert len(kept) == len(document["Statement"]) - len(without), without
    policy = json.dumps({**document, "Statement": kept})
    iam.put_role_policy(RoleName="node-rotation", PolicyName="published", PolicyDocument=policy)
    role = f"arn:aws:iam::{account}:role/node-rotation"
    given = owner.client("sts").assume_role(RoleArn=role, RoleSessionName="tests")["Credentials"]
    keys = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    return share(boto3.Session(*keys, region_name=owner.region_name))
