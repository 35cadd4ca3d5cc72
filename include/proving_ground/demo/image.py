"""What a pipeline does that builds images: one comes out, and goes where the rotation does not put it itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from proving_ground.demo import stage
from proving_ground.scenario import load

if TYPE_CHECKING:
    from proving_ground.state import State

FROZEN = "/node-rotation/frozen"


@dataclass(frozen=True)
class Image:
    """An image that came out."""

    id: str
    name: str


def publish(running: State, behaviour: str = "good") -> Image:
    """Let an image come out, and write it into the launch templates of managed node groups with images of their own.

    Those templates are their owner's: a rotation has EKS roll to the newest version, and never writes one.

    :param behaviour: of the machines that boot from it.
    """
    image = Image(*stage.publish(running, behaviour))
    ec2 = _client(running, "ec2")
    for cluster in load(running.scenario).clusters:
        for group in cluster.groups:
            if group.kind == "eks-managed" and group.ami_type == "CUSTOM":
                ec2.create_launch_template_version(
                    LaunchTemplateName=f"{cluster.name}-{group.name}-user",
                    SourceVersion="$Latest",
                    LaunchTemplateData={"ImageId": image.id},
                )
    return image


def frozen(running: State) -> frozenset[str]:
    """Ids of the images that are recorded as frozen, and not lifted."""
    pages = _client(running, "ssm").get_paginator("get_parameters_by_path").paginate(Path=FROZEN)
    records = [json.loads(one["Value"]) for page in pages for one in page["Parameters"]]
    return frozenset(record["image"]["id"] for record in records if not record["lifted"])


def _client(running: State, service: str) -> Any:
    env = running.environment
    session: Any = boto3.Session(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], region_name=env["AWS_REGION"])
    return session.client(service, endpoint_url=running.endpoint)
