"""A node group that says for itself what only its cluster is asked for is refused, with the file and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from node_rotation.configuration.of_clusters import OF_CLUSTERS
from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet, load

CALLS = {"close": {"path": "/close"}, "open": {"path": "/open"}}
SAID: dict[str, Any] = {
    "mode": "plan",
    "windows": [{"from": "22:00", "to": "05:00"}],
    "blackouts": [{"from": "2026-12-21", "to": "2027-01-06"}],
    "promotion": {"soak": "2h"},
    "approval": {"required": True},
    "intake": {"http": CALLS},
    "notify": [{"http": {"connection": "chat"}}],
    "autoscaler": {"pause": True},
    "control_plane": {"without_probe": True},
    "lock_duration": "5m",
    "budget.cluster_slots": 3,
}
"""Something of each that is different from its default."""
AS_IT_IS_ANYWAY: dict[str, Any] = {"mode": "rotate", "lock_duration": "10m", "budget.cluster_slots": None}


def policy(setting: str, value: Any) -> dict[str, Any]:
    first, _, rest = setting.partition(".")
    return {first: policy(rest, value) if rest else value}


def fleet(group: dict[str, Any], cluster: dict[str, Any] | None = None, *, kops: bool = False) -> dict[str, Any]:
    groups: dict[str, Any] = {"groups": [{"name": "workers", "asg": "dev-workers", "policy": group}]}
    if kops:
        groups = {"kops": {"cluster": "dev.example.com", "policies": {"workers": group}}}
    one = {"name": "one", "aws": {"region": "eu-central-1"}, "policy": cluster or {}, **groups}
    return {"environments": [{"name": "dev", "clusters": [one]}]}


def test_the_stories_below_know_every_setting() -> None:
    assert SAID.keys() == OF_CLUSTERS.keys()


@pytest.mark.parametrize(("setting", "value"), [*SAID.items(), *AS_IT_IS_ANYWAY.items()])
def test_on_a_group_it_is_refused_whatever_it_says(setting: str, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet(policy(setting, value))))
    with pytest.raises(BadInputError) as refused:
        load(file)
    assert refused.value.where == f"{file}: node group workers of dev.one: {setting}"
    assert "belongs to a whole cluster" in refused.value.problem
    assert refused.value.remedy == "Move it to the policy of cluster one, or of its environment."


@pytest.mark.parametrize("setting", SAID)
def test_on_an_instance_group_of_kops_too(setting: str) -> None:
    with pytest.raises(BadInputError) as refused:
        Fleet.model_validate(fleet(policy(setting, SAID[setting]), kops=True)).settings("one")
    assert refused.value.where == f"dev.one: kops.policies.workers: {setting}"


@pytest.mark.parametrize("setting", SAID)
@pytest.mark.parametrize("kops", [False, True])
def test_on_the_cluster_it_is_heard(setting: str, kops: bool) -> None:
    said = policy(setting, SAID[setting])
    settings = Fleet.model_validate(fleet({"budget": {"max_surge": 2}}, said, kops=kops)).settings("one")
    first = setting.partition(".")[0]
    assert getattr(settings.policy, first) == getattr(settings.groups["workers"], first) or first == "budget"
    assert first in settings.policy.model_fields_set


def test_a_run_that_names_a_group_says_it_of_the_whole_cluster() -> None:
    """Run parameters lie on the cluster's policy whatever groups are chosen: there is nothing to refuse."""
    settings = Fleet.model_validate(fleet({})).settings("one", {"mode": "plan", "lock_duration": "5m"})
    chosen = settings.only(["workers"])
    assert (chosen.policy.mode, chosen.policy.lock_duration) == ("plan", 300.0)
