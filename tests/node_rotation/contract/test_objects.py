"""Objects of any kind, and pods that run to their end, as both worlds show and change them."""

from __future__ import annotations

from typing import Any

import pytest

from node_rotation.configuration.intake_policy import ObjectRef
from node_rotation.errors import GoneError
from node_rotation.outside import PodState

REF = ObjectRef(kind="ConfigMap", namespace="default", name="intake")
NAMESPACE, NAME = "default", "node-rotation-image-1"


def manifest(name: str = NAME, **spec: Any) -> dict[str, Any]:
    container = {"name": "kops", "image": "kops", "env": [{"name": "NODE_ROTATION_IMAGE_ID", "value": "ami-1"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }


def test_a_merge_patch_changes_what_it_names_and_nothing_else(world):
    world.config_map("intake", {"open": "true", "mail": "sre"})

    world.cluster.objects.patch(REF, {"data": {"open": "false"}})
    world.cluster.objects.patch(REF, {"data": {"open": "false"}})

    assert world.read_config_map("intake") == {"open": "false", "mail": "sre"}
    assert world.cluster.objects.read(REF)["data"] == {"open": "false", "mail": "sre"}


@pytest.mark.parametrize("ref", [REF.model_copy(update={"name": "nobody"}), REF.model_copy(update={"kind": "Nothing"})])
def test_what_is_not_there_is_gone(world, ref):
    with pytest.raises(GoneError):
        world.cluster.objects.patch(ref, {"data": {}})
    with pytest.raises(GoneError):
        world.cluster.objects.read(ref)


def test_a_pod_runs_to_its_end_and_is_removed(world):
    objects = world.cluster.objects
    assert objects.pod_state(NAMESPACE, NAME) is None
    objects.begin_pod(manifest())
    objects.begin_pod(manifest())

    world.eventually(lambda: objects.pod_state(NAMESPACE, NAME) == PodState("Succeeded"))
    assert isinstance(objects.pod_log(NAMESPACE, NAME), tuple)

    objects.remove_pod(NAMESPACE, NAME)
    objects.remove_pod(NAMESPACE, NAME)
    world.eventually(lambda: objects.pod_state(NAMESPACE, NAME) is None)
