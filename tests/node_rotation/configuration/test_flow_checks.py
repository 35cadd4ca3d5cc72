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


@pytest.mark.parametrize(
    ("environment", "group", "run", "said"),
    [
        ({"poll": "20m"}, {}, {}, "policy of dev.dev: poll: a lock of 10m is not kept alive by a look each 20m"),
        ({}, {"poll": "20m"}, {}, "node group workers of dev.dev: poll: a lock of 10m is not kept alive"),
        ({"lock_duration": "5s"}, {}, {}, "policy of dev.dev: poll: a lock of 5s is not kept alive by a look each 2s"),
        ({}, {}, {"poll": "4m"}, "run parameters: poll: a lock of 10m is not kept alive by a look each 4m"),
        ({}, {}, {"lock_duration": "5s"}, "run parameters: lock_duration: a lock of 5s is not kept alive"),
        ({}, {"poll": "3m"}, {"lock_duration": "8m"}, "run parameters: lock_duration: a lock of 8m is not kept alive"),
    ],
    ids=["cluster", "group", "short lock", "run's poll", "run's lock", "run's lock, group's poll"],
)
def test_who_looks_too_seldom_to_keep_its_lock_is_refused(
    environment: dict[str, Any], group: dict[str, Any], run: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInputError, match=f"^{said}"):
        fleet(environment, group).settings("dev", run)


@pytest.mark.parametrize(
    ("policy", "poll", "lock_duration"),
    [
        ({"poll": "20m"}, "3m20s", "1h"),
        ({"lock_duration": "5s"}, "1.666s", "6s"),
        ({"poll": "0.1s", "lock_duration": "0.2s"}, "0.066s", "0.3s"),
    ],
)
def test_what_it_is_told_to_set_is_taken(policy: dict[str, Any], poll: str, lock_duration: str) -> None:
    with pytest.raises(BadInputError) as refused:
        fleet(policy, {}).settings("dev")
    assert refused.value.remedy == f"Set poll to at most {poll}, or lock_duration to at least {lock_duration}."
    assert fleet({**policy, "poll": poll}, {}).settings("dev")
    assert fleet({**policy, "lock_duration": lock_duration}, {}).settings("dev")
