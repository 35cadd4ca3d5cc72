"""An image goes on once the environments before run it, and one healthy node of theirs has for long enough."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation.builders import NEW, NOW, OLD, image

from node_rotation.clearance.lineage import alike, same
from node_rotation.clearance.promotion import Machine, Stage, overtaken, waits
from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet, load
from node_rotation.model import Image
from node_rotation.policy import ImageSource, PromotionPolicy

HOUR_S = 3600.0
DAY = PromotionPolicy.model_validate({"after": "previous", "soak": "24h"})


def stage(*machines: Machine) -> Stage:
    return Stage("staging.eu-1 group workers", machines)


def machine(name: str, runs: Image | None = NEW, hours: float = 30.0, *, ready: bool = True) -> Machine:
    return Machine(name, runs, NOW - hours * HOUR_S, ready)


def why(*stages: Stage, policy: PromotionPolicy = DAY) -> list[str]:
    return list(waits(NEW, stages, policy, NOW))


def test_every_machine_runs_it_and_one_has_soaked():
    assert why(stage(machine("i-1"), machine("i-2", hours=1))) == []


def test_drift_that_is_left_is_waited_for_by_name():
    (reason,) = why(stage(machine("i-1"), machine("i-2", OLD)))
    assert reason == ("staging.eu-1 group workers: 1 of 2 machines do not run ami-new (base-ami-new) yet, i-2 for one")


def test_the_soak_is_counted_from_the_oldest_healthy_node_and_says_until_when():
    (reason,) = why(stage(machine("i-1", hours=23), machine("i-2", hours=30, ready=False)))
    assert reason == "staging.eu-1 group workers: ami-new (base-ami-new) soaks until 2026-11-09 03:00 UTC"


def test_without_a_healthy_node_nothing_is_proven():
    assert why(stage(machine("i-1", ready=False))) == [
        "staging.eu-1 group workers: no healthy node runs ami-new (base-ami-new)"
    ]


def test_an_empty_group_holds_unless_the_policy_allows_it():
    (reason,) = why(stage())
    assert "has no machine to prove ami-new on (promotion.empty: hold)" in reason
    assert why(stage(), policy=PromotionPolicy.model_validate({"empty": "allow"})) == []


def test_a_machine_whose_image_nobody_knows_proves_nothing():
    assert why(stage(machine("i-1", None)))


def test_an_environment_that_went_on_to_a_newer_image_overtakes():
    newer = image("ami-newer", 0.5)
    assert "runs ami-newer (base-ami-newer) by now, newer than ami-new" in overtaken(NEW, [stage(machine("i", newer))])
    assert overtaken(NEW, [stage(machine("i-1"), machine("i-2", OLD))]) == ""


def test_a_copy_in_another_region_is_the_same_image_and_a_namesake_of_another_owner_is_not():
    copy = NEW.model_copy(update={"id": "ami-copy", "owner": "2", "name": "other", "copied_from": NEW.id})
    assert same(NEW, copy)
    assert same(copy, NEW.model_copy(update={"id": "ami-third", "owner": "3", "copied_from": NEW.id}))
    assert same(NEW, NEW.model_copy(update={"id": "ami-elsewhere"}))
    assert not same(NEW, NEW.model_copy(update={"id": "ami-twin", "owner": "2"}))
    assert not same(NEW, OLD)


def test_a_family_takes_its_images_from_the_same_place():
    ssm, soaking = ImageSource(ssm="/images/base"), ImageSource(ssm="/images/base", soak=60.0)
    assert alike(ssm, soaking)
    assert not alike(ssm, ImageSource(ssm="/images/gpu"))
    assert not alike(ssm, ImageSource(ssm="/images/base", architecture="arm64"))
    assert alike(ImageSource(template=True), ImageSource(template=True))
    assert not alike(ImageSource(owner="self", name="a-*"), ImageSource(owner="self", name="b-*"))


def fleet(*environments: dict[str, Any]) -> Fleet:
    def cluster(name: str, **policy: Any) -> dict[str, Any]:
        groups = [
            {"name": "workers", "asg": f"{name}-w", "policy": {"image": {"ssm": "/images/base"}}},
            {"name": "gpu", "asg": f"{name}-g", "policy": {"image": {"ssm": "/images/gpu"}}},
        ]
        return {"name": f"{name}-1", "aws": {"region": "eu-central-1"}, "groups": groups, "policy": policy}

    listed = [
        {
            "name": e["name"],
            "clusters": [cluster(e["name"], **({"promotion": e["promotion"]} if "promotion" in e else {}))],
        }
        for e in environments
    ]
    return Fleet.model_validate({"environments": listed})


def required(before):
    return {group: before.required(group, before.settings) for group in before.images}


def test_previous_is_the_environment_before_and_its_groups_of_the_same_family_count():
    told = fleet(
        {"name": "dev", "promotion": {"after": "previous"}}, {"name": "prod", "promotion": {"after": "previous"}}
    )
    assert told.settings("dev-1").before == ()
    (before,) = told.settings("prod-1").before
    assert before.settings.name == "dev.dev-1"
    assert required(before) == {"workers": ("workers",), "gpu": ("gpu",)}


def test_an_image_pinned_for_a_run_does_not_change_who_comes_before():
    told = fleet({"name": "dev"}, {"name": "prod", "promotion": {"after": ["dev"]}})
    (before,) = told.settings("prod-1", {"image": {"id": "ami-1"}}).before
    assert required(before)["workers"] == ("workers",)


def test_groups_that_are_named_count_for_all():
    told = fleet({"name": "dev"}, {"name": "prod", "promotion": {"after": ["dev"], "groups": ["gpu"]}})
    (before,) = told.settings("prod-1").before
    assert required(before) == {"workers": ("gpu",), "gpu": ("gpu",)}


@pytest.mark.parametrize(
    ("environments", "said"),
    [
        ([("dev", ["prod"]), ("prod", "previous")], "dev after prod after dev"),
        ([("dev", ["dev"])], "dev after dev"),
        ([("dev", ["production"])], "there is no environment 'production'"),
    ],
)
def test_circles_and_environments_that_are_not_there_are_refused(tmp_path, environments, said):
    told = fleet(*({"name": name, "promotion": {"after": after}} for name, after in environments))
    file = tmp_path / "fleet.yaml"
    file.write_text(told.model_dump_json(exclude_unset=True))
    with pytest.raises(BadInputError, match=said):
        load(file)
