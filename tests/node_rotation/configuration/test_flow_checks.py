"""What only the layers of a fleet file together can get wrong is one message, before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest

from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet

INTAKE = {"http": {"close": {"path": "/close"}, "open": {"path": "/open"}}}


def fleet(environment: dict[str, Any], group: dict[str, Any]) -> Fleet:
    groups = [{"name": "workers", "asg": "dev-workers", "policy": group}]
    cluster = {"name": "dev", "aws": {"region": "eu-central-1"}, "groups": groups}
    return Fleet.model_validate({"environments": [{"name": "dev", "clusters": [cluster], "policy": environment}]})


@pytest.mark.parametrize("way", ["command", "pod"])
def test_an_image_step_needs_its_means(way: str) -> None:
    with pytest.raises(BadInputError, match=f"node group workers of dev.dev: image_step: {way} needs image_{way}"):
        fleet({}, {"image_step": way}).settings("dev")


def test_means_may_come_from_another_layer() -> None:
    made = fleet({"image_step": "command"}, {"image_command": {"argv": ["kops-image"]}}).settings("dev")
    command = made.groups["workers"].image_command
    assert command is not None
    assert command.argv == ("kops-image",)


def test_an_intake_is_not_a_groups() -> None:
    with pytest.raises(BadInputError, match="belongs to a whole cluster"):
        fleet({}, {"intake": INTAKE}).settings("dev")
    assert fleet({"intake": INTAKE}, {}).settings("dev").policy.intake is not None


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "a pod needs containers"),
        ({"containers": []}, "at least one container"),
        ({"containers": [{"name": "kops"}]}, "each has name and image"),
        ({"containers": [{"name": "kops", "image": "kops"}], "restartPolicy": "Always"}, "never ends"),
    ],
)
def test_a_pod_has_to_be_one_that_ends(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fleet({"image_pod": {"spec": spec}}, {})


def test_who_is_told_is_not_a_groups() -> None:
    notify = [{"http": {"connection": "chat"}}]
    with pytest.raises(BadInputError, match="notify.* belongs to a whole cluster"):
        fleet({}, {"notify": notify}).settings("dev")
    assert fleet({"notify": notify}, {}).settings("dev").policy.notify
