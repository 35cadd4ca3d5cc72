from __future__ import annotations

import json
from urllib.error import HTTPError

import pytest

from .support import Aws, until


def test_a_published_image_is_newest_and_its_parameter_points_at_it(aws: Aws) -> None:
    made = aws.control("publish", {"name": "night-3", "created": "2026-11-15T06:00:00Z"})["image_id"]
    parameter = aws.client("ssm").get_parameter(Name="/images/base/current")["Parameter"]
    assert (parameter["Value"], parameter["Version"]) == (made, 2)
    image = aws.ec2.describe_images(ImageIds=[made])["Images"][0]
    assert (image["Name"], image["CreationDate"]) == ("night-3", "2026-11-15T06:00:00.000Z")


def test_a_public_parameter_can_be_repointed(aws: Aws) -> None:
    """Only AWS writes those; readers see a new version and no history.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
    """
    name = "/aws/service/bottlerocket/aws-k8s-1.36/x86_64/latest/image_id"
    made = aws.control("publish", {"name": "bottlerocket-1", "parameter": name})["image_id"]
    ssm = aws.client("ssm")
    assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == made
    assert [p["Name"] for p in ssm.get_parameters(Names=[name, "/nope"])["Parameters"]] == [name]
    found = ssm.get_parameters_by_path(Path="/aws/service/bottlerocket", Recursive=True)["Parameters"]
    assert [parameter["Name"] for parameter in found] == [name]


def test_the_state_shows_groups_and_instances(aws: Aws) -> None:
    group = aws.group(1)
    state = aws.control("state")
    shown = next(entry for entry in state["groups"] if entry["name"] == group)
    member = aws.ids(group)[0]
    assert (shown["desired"], shown["members"]) == (1, {member: "InService"})
    assert member in [instance["instance_id"] for instance in state["instances"]]


def test_aws_takes_an_instance_away(aws: Aws) -> None:
    """A Spot reclaim terminates without being asked; the group replaces it.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-interruptions.html
    """
    group = aws.group(1)
    member = aws.ids(group)[0]
    aws.control("instance-state", {"instance_id": member, "state": "terminated"})
    until(lambda: aws.state(member) == "terminated")
    until(lambda: member not in aws.ids(group))
    aws.settle(group, 1)


def test_an_images_behaviour_can_change(aws: Aws) -> None:
    made = aws.control("publish", {"name": "turns-bad", "parameter": None})["image_id"]
    assert aws.control("behaviour", {"image": "turns-bad", "behaviour": "never-joins"}) == {"image_id": made}
    assert aws.server.world.images.behaviour(made)[0] == "never-joins"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("nope", {}, "there are: GET /_proving-ground/state"),
        ("publish", {"nome": "x"}, "nome"),
        ("publish", {"name": "x", "behaviour": "odd"}, "odd"),
        ("fault", {"kind": "odd"}, "odd"),
        ("instance-state", {"state": "stopped"}, "instance_id"),
        ("instance-state", {"instance_id": "i-1", "state": "stopped"}, "'i-1' does not exist"),
        ("instance-state", {"instance_id": "i-1", "state": "odd"}, "none of terminated, stopped, running"),
        ("behaviour", {"image": "nope", "behaviour": "good"}, "there is no image nope"),
    ],
)
def test_a_wrong_control_call_says_what_to_correct(aws: Aws, path: str, body: dict[str, object], said: str) -> None:
    with pytest.raises(HTTPError) as caught:
        aws.control(path, body)
    assert said in json.load(caught.value)["error"]
