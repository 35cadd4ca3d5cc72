"""Managed node groups in the fleet file: addressed by EKS' names, rolled by EKS, anything else is one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.eks_world import world

from node_rotation import detect
from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet, load
from node_rotation.model import Strategy

GOOD = {"name": "workers", "kind": "eks-managed", "eks_cluster": "dev", "nodegroup": "workers"}
TOGETHER = "kind eks-managed, eks_cluster and nodegroup go together"


def fleet(*groups: dict[str, Any], **policy: Any) -> dict[str, Any]:
    cluster = {"name": "dev", "aws": {"region": "eu-central-1"}, "groups": list(groups), "policy": policy}
    return {"environments": [{"name": "dev", "clusters": [cluster]}]}


def test_its_strategy_is_managed_whatever_the_others_have() -> None:
    known = Fleet.model_validate(fleet(GOOD, {"name": "mine", "asg": "mine"}, strategy="detach"))
    for run in ({}, {"strategy": "surge"}):
        settings = known.settings("dev", run)
        assert settings.groups["workers"].strategy is Strategy.MANAGED
        assert settings.groups["mine"].strategy is not Strategy.MANAGED


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({**GOOD, "nodegroup": None}, TOGETHER),
        ({**GOOD, "eks_cluster": None}, TOGETHER),
        ({**GOOD, "asg": "eks-workers-123"}, TOGETHER),
        ({**GOOD, "asg_tags": {"pool": "workers"}}, TOGETHER),
        ({**GOOD, "role": "control-plane"}, TOGETHER),
        ({**GOOD, "kind": "asg"}, TOGETHER),
        ({"name": "workers", "kind": "kops", "asg": "workers", "nodegroup": "workers"}, TOGETHER),
        ({**GOOD, "policy": {"strategy": "surge"}}, "its strategy is managed"),
        ({"name": "workers", "asg": "workers", "policy": {"strategy": "managed"}}, "is for eks-managed"),
    ],
)
def test_a_combination_that_can_not_be_is_one_message(group: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(fleet(group)))
    with pytest.raises(BadInputError) as caught:
        load(path)
    assert str(caught.value).count(said) == 1


def test_strategy_managed_for_a_self_managed_group_is_refused_where_it_was_said() -> None:
    known = Fleet.model_validate(fleet({"name": "mine", "asg": "mine"}))
    with pytest.raises(BadInputError, match=r"run parameters: strategy: .*mine is of kind asg"):
        known.settings("dev", {"strategy": "managed"})


def test_the_same_node_group_twice_is_named() -> None:
    with pytest.raises(ValueError, match="the same Auto Scaling group twice: dev/workers"):
        Fleet.model_validate(fleet(GOOD, {**GOOD, "name": "twin"}))


def test_a_node_group_that_eks_does_not_know_is_named_with_its_region() -> None:
    memory = world()
    settings = Fleet.model_validate(fleet({**GOOD, "nodegroup": "nobody"})).settings("dev")
    with pytest.raises(BadInputError, match=r"no managed node group 'dev/nobody' in eu-central-1"):
        detect.observe(settings, memory.cloud, memory.cluster, memory.clock)
