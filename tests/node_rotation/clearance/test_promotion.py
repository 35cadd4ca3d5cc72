"""An image goes on once the environments before run it, and one healthy node of theirs has for long enough."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.node_rotation.builders import NEW, NOW, OLD, image

from node_rotation.clearance.freeze import Frozen
from node_rotation.clearance.lineage import Family, Origin, family, same
from node_rotation.clearance.promotion import Machine, Stage, overtaken, waits
from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet, load
from node_rotation.model import Image, Kind, Role
from node_rotation.policy import ImageSource, PromotionPolicy

HOUR_S = 3600.0
DAY = PromotionPolicy.model_validate({"after": "previous", "soak": "24h"})


def stage(*machines: Machine) -> Stage:
    return Stage("staging.eu-1", "workers", machines)


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


def test_a_newer_image_that_is_frozen_overtakes_nobody_but_whoever_runs_it_is_waited_for():
    newer, newest = image("ami-newer", 0.5), image("ami-newest", 0.25)
    frozen = (Frozen(image=newer, reason="leaks memory", by="a person", at=newer.created),)
    assert overtaken(NEW, [stage(machine("i-1", newer))], frozen) == ""
    assert "runs ami-newest" in overtaken(NEW, [stage(machine("i-1", newer), machine("i-2", newest))], frozen)
    (reason,) = why(stage(machine("i-1", newer)))
    assert "i-1 for one; a newer image runs there: a run with skip_promotion=REASON" in reason


def test_who_goes_back_is_told_how_not_to_wait_for_those_who_have_not():
    (reason,) = waits(OLD, [stage(machine("i-1"))], DAY, NOW)
    assert reason.endswith(
        "i-1 for one; a newer image runs there: a run with skip_promotion=REASON does not wait for it to go back"
    )
    (other,) = waits(OLD, [Stage("staging.eu-1", "batch", (machine("i-1"),), overtakes=False)], DAY, NOW)
    assert other.endswith("i-1 for one")


def test_a_copy_in_another_region_is_the_same_image_and_a_namesake_of_another_owner_is_not():
    copy = NEW.model_copy(update={"id": "ami-copy", "owner": "2", "name": "other", "copied_from": NEW.id})
    assert same(NEW, copy)
    assert same(copy, NEW.model_copy(update={"id": "ami-third", "owner": "3", "copied_from": NEW.id}))
    assert same(NEW, NEW.model_copy(update={"id": "ami-elsewhere"}))
    assert not same(NEW, NEW.model_copy(update={"id": "ami-twin", "owner": "2"}))
    assert not same(NEW, OLD)


def test_a_newer_image_of_a_group_that_is_only_the_one_left_overtakes_nobody():
    """What a group launches from a template of its own may be another build altogether."""
    perhaps = Stage("staging.eu-1", "nodes", (machine("i", image("ami-gpu", 0.5)),), overtakes=False)
    assert overtaken(NEW, [perhaps]) == ""
    assert "1 of 1 machines do not run ami-new" in why(perhaps)[0]


def of(group: str, kind: Kind = Kind.ASG, role: Role = Role.WORKER, eks: str = "", **source: Any) -> Origin:
    return Origin(group, kind, role, ImageSource(**source), eks)


def eks(group: str, ami_type: str) -> Origin:
    return of(group, Kind.EKS_MANAGED, eks=ami_type, template=True)


def test_a_family_takes_its_images_from_the_same_place_whatever_its_groups_are_called():
    ours = of("workers", ssm="/images/base")
    there = [
        of("apps", ssm="/images/base", soak=60.0),
        of("kops", Kind.KOPS, ssm="/images/base"),
        of("gpu", ssm="/images/gpu"),
        of("arm", ssm="/images/base", architecture="arm64"),
        of("workers", template=True),
    ]
    assert family(ours, there) == Family(("apps", "kops"))
    named = [of("a", owner="self", name="a-*"), of("b", owner="self", name="b-*")]
    assert family(of("workers", owner="self", name="a-*"), named) == Family(("a",))


def test_groups_with_templates_of_their_own_belong_together_by_name():
    there = [of("workers", template=True), of("gpu", template=True), of("gpu-kops", Kind.KOPS, template=True)]
    assert family(of("workers", template=True), there) == Family(("workers",))
    assert family(of("gpu", template=True), there) == Family(("gpu",))
    assert family(of("workers", Kind.EKS_MANAGED, template=True), there) == Family((), sure=False)


def test_where_no_image_is_named_it_is_the_templates():
    assert family(of("workers", soak=60.0), [of("workers", template=True)]) == Family(("workers",))


def test_the_only_one_of_its_kind_is_waited_for_and_of_several_nobody_can_tell():
    ours = of("batch", template=True)
    one, two = of("workers", template=True), of("gpu", template=True)
    assert family(ours, [one, of("kops", Kind.KOPS, template=True)]) == Family(("workers",), sure=False)
    assert family(ours, [one, two]) == Family(("workers", "gpu"), sure=False, unclear=True)


def test_masters_are_promoted_from_all_masters_whatever_zones_they_are_called_after():
    there = [of(f"master-{zone}", Kind.KOPS, Role.CONTROL_PLANE, template=True) for zone in "ab"]
    there.append(of("nodes", Kind.KOPS, template=True))
    ours = of("master-x", Kind.KOPS, Role.CONTROL_PLANE, template=True)
    assert family(ours, there) == Family(("master-a", "master-b"), sure=False)


def test_of_managed_groups_the_ami_type_decides_and_not_the_name():
    there = [eks("workers", "NVIDIA 1.36"), eks("apps", "STANDARD 1.36"), eks("next", "STANDARD 1.37")]
    assert family(eks("workers", "STANDARD 1.36"), there) == Family(("apps",))
    assert family(eks("workers", "NVIDIA 1.37"), there) == Family(())
    assert family(eks("gpu", "CUSTOM"), [eks("gpu", "CUSTOM"), eks("apps", "CUSTOM")]) == Family(("gpu",))


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
    """The groups there that are looked at for each of ours."""
    ours = [before.origin(group, Kind.ASG, Role.WORKER) for group in before.images]
    return {one.group: before.looked_at([one], before.settings) for one in ours}


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


def by_template(before: list[str], ours: list[str], **promotion: Any) -> dict[str, Any]:
    """Staging, then prod; every group takes its image from its own template."""

    def environment(name: str, groups: list[str], **policy: Any) -> dict[str, Any]:
        listed = [{"name": group, "asg": f"{name}-{group}"} for group in groups]
        cluster = {"name": name, "aws": {"region": "eu-central-1"}, "groups": listed, "policy": policy}
        return {"name": name, "clusters": [cluster]}

    promoted = {"promotion": {"after": ["staging"], **promotion}}
    return {"environments": [environment("staging", before), environment("prod", ours, **promoted)]}


def loaded(tmp_path, told: dict[str, Any]) -> Fleet:
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(told))
    return load(file)


def test_groups_by_template_that_nothing_tells_apart_are_refused_by_name(tmp_path):
    with pytest.raises(BadInputError) as refused:
        loaded(tmp_path, by_template(["general", "gpu"], ["workers"]))
    said = str(refused.value)
    assert "prod.prod group workers: promotion" in said
    assert "staging.staging has general and gpu" in said
    assert "promotion.groups" in said


@pytest.mark.parametrize(
    ("before", "ours", "promotion"),
    [
        (["workers", "gpu"], ["workers", "gpu"], {}),
        (["workers"], ["workers", "batch"], {}),
        (["general", "gpu"], ["workers"], {"groups": ["general"]}),
        (["general", "gpu"], ["workers"], {"after": []}),
    ],
)
def test_what_can_be_told_apart_is_a_fleet(tmp_path, before, ours, promotion):
    assert loaded(tmp_path, by_template(before, ours, **promotion)).names == ("staging.staging", "prod.prod")


def test_a_named_group_that_no_cluster_before_has_is_refused_with_those_that_there_are(tmp_path):
    told = by_template(["workers", "gpu"], ["workers"], groups=["workers", "worker"], empty="allow")
    with pytest.raises(BadInputError) as refused:
        loaded(tmp_path, told)
    assert refused.value.where.endswith("policy of prod.prod: promotion.groups")
    assert refused.value.problem == "staging.staging has no group 'worker'."
    assert refused.value.remedy == "Groups there: workers, gpu."

    staging = told["environments"][0]
    staging["clusters"].append({"name": "kops", "aws": {"region": "eu-west-1"}, "kops": {"cluster": "k.example.com"}})
    assert loaded(tmp_path, told).settings("prod")  # kops' tags may name it


def test_a_name_needs_to_be_there_once_and_only_where_somebody_comes_before(tmp_path):
    told = by_template(["workers"], ["workers"], groups=["workers", "gpu"])
    other = {"name": "other", "aws": {"region": "eu-central-1"}, "groups": [{"name": "gpu", "asg": "other-gpu"}]}
    told["environments"][0]["clusters"].append(other)
    assert loaded(tmp_path, told).settings("prod")
    assert loaded(tmp_path, by_template(["workers"], ["workers"], after=[], groups=["gpu"])).settings("prod")


@pytest.mark.parametrize("name", ["*", "work*", ""])
def test_what_can_be_no_groups_name_is_none(tmp_path, name):
    with pytest.raises(BadInputError, match=r"promotion\.groups\[1\]: .* is not a name: write letters"):
        loaded(tmp_path, by_template(["workers"], ["workers"], groups=["workers", name]))


def test_a_run_names_groups_that_are_there(tmp_path):
    told = loaded(tmp_path, by_template(["workers", "gpu"], ["workers"], groups=["workers"]))
    assert told.settings("prod", {"promotion": {"groups": ["gpu", "workers"]}})
    with pytest.raises(BadInputError) as refused:
        told.settings("prod", {"promotion": {"groups": ["workers", "gpus"]}})
    assert refused.value.where == "run parameters: promotion.groups"
    assert refused.value.problem == "staging.staging has no group 'gpus'."
    with pytest.raises(BadInputError, match=r"promotion\.groups\[0\]: '\*' is not a name"):
        told.settings("prod", {"promotion": {"groups": ["*", "workers"]}})


def test_so_are_clusters_in_turn(tmp_path):
    told = by_template(["general", "gpu"], ["workers"], after=[])
    staging, prod = told["environments"]
    prod["clusters"] = [*staging.pop("clusters"), *prod["clusters"]]
    prod["policy"] = {"promotion": {"clusters": "in_turn"}}
    with pytest.raises(BadInputError) as refused:
        loaded(tmp_path, {"environments": [prod]})
    assert "prod.staging has general and gpu" in str(refused.value)
    assert "promotion.groups" not in str(refused.value)
