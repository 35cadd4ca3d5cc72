"""The fleet file: every mistake is one message with file, path and remedy."""

from __future__ import annotations

import copy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet, load
from node_rotation.model import Role

GOOD: dict[str, Any] = {
    "defaults": {"budget": {"max_surge": 2}},
    "environments": [
        {
            "name": "dev",
            "policy": {"canary": False},
            "clusters": [
                {
                    "name": "dev-1",
                    "aws": {"region": "eu-central-1"},
                    "groups": [
                        {"name": "workers", "asg": "dev-workers", "policy": {"budget": {"max_surge": "10%"}}},
                        {"name": "masters", "asg_tags": {"role": "master"}, "role": "control-plane"},
                    ],
                }
            ],
        },
        {
            "name": "prod",
            "clusters": [
                {
                    "name": "prod-1",
                    "aws": {"region": "eu-central-1"},
                    "groups": [{"name": "workers", "asg": "prod-workers"}],
                }
            ],
        },
    ],
}
WORKERS = ("environments", 0, "clusters", 0, "groups", 0)


def written(directory: Path, data: object) -> Path:
    file = directory / "fleet.yaml"
    file.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return file


def changed(path: tuple[int | str, ...], value: object) -> dict[str, Any]:
    data: Any = copy.deepcopy(GOOD)
    place = data
    for part in path[:-1]:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
    place[path[-1]] = value
    return data


def complaint(directory: Path, data: object) -> BadInputError:
    file = written(directory, data)
    with pytest.raises(BadInputError) as caught:
        load(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)
    return caught.value


def test_policies_are_merged_from_the_fleet_down_to_the_run(tmp_path):
    fleet = load(written(tmp_path, GOOD))
    assert fleet.names == ("dev.dev-1", "prod.prod-1")
    settings = fleet.settings("dev-1", {"wait_between_drains": "60s"})
    assert settings == fleet.settings("dev.dev-1", {"wait_between_drains": "60s"})
    assert [p.budget.max_surge for p in settings.groups.values()] == ["10%", 2]
    assert (settings.policy.canary, settings.policy.wait_between_drains) == (False, 60)


WORKER_PATH = "environments[dev].clusters[dev-1].groups[workers]"


@pytest.mark.parametrize(
    ("path", "value", "where", "problem", "remedy"),
    [
        ((*WORKERS, "policy", "budgett"), {}, f"{WORKER_PATH}.policy.budgett", "no such setting", "'budget'"),
        (("defaults", "zzz"), 1, "defaults.zzz", "no such setting", "Known here: mode, strategy"),
        (
            (*WORKERS, "policy", "strategy"),
            "slow",
            f"{WORKER_PATH}.policy.strategy",
            "'slow' is not one of surge, detach, terminate_first, managed",
            "schema",
        ),
        (("defaults", "launch_timeout"), 300, "defaults.launch_timeout", "300 is not a duration", "schema"),
        (("defaults", "launch_timeout"), "5 weeks", "defaults.launch_timeout", "such as 90s, 15m or 2h", "schema"),
        (("defaults", "budget"), {"max_surge": "many"}, "defaults.budget.max_surge", "percentage", "schema"),
        (("defaults", "canary"), "perhaps", "defaults.canary", "'perhaps' is not true or false", "E.g. canary: true"),
        ((*WORKERS, "asg"), None, WORKER_PATH, "needs either asg or asg_tags", "schema"),
        (("environments", 0, "clusters", 0, "aws"), {}, "clusters[dev-1].aws.region", "is missing", "Add it"),
        (("environments",), [], "environments", "at least 1 is needed", "schema"),
        (("environments", 1, "name"), "dev", "(top)", "the same environment twice: dev", "schema"),
        (
            ("environments", 1, "clusters", 0, "name"),
            "dev-1",
            "(top)",
            "clusters dev.dev-1 and prod.dev-1 have one name",
            "Cluster names are unique over all environments: rename one",
        ),
    ],
)
def test_a_mistake_is_named_with_its_path_and_a_remedy(tmp_path, path, value, where, problem, remedy):
    error = complaint(tmp_path, changed(path, value))
    assert where in error.where
    assert problem in error.problem
    assert remedy in error.remedy


def test_groups_that_overlap_are_refused_within_a_cluster_and_across(tmp_path):
    twin = {"name": "twin", "asg": "dev-workers"}
    within = changed(("environments", 0, "clusters", 0, "groups", 1), twin)
    assert "the same Auto Scaling group twice: dev-workers" in complaint(tmp_path, within).problem
    across = changed(("environments", 1, "clusters", 0, "groups", 0, "asg"), "dev-workers")
    assert "the same Auto Scaling group twice: dev-workers in eu-central-1" in complaint(tmp_path, across).problem
    elsewhere = changed(("environments", 1, "clusters", 0, "aws", "region"), "us-east-1")
    elsewhere["environments"][1]["clusters"][0]["groups"][0]["asg"] = "dev-workers"
    assert load(written(tmp_path, elsewhere))


@pytest.mark.parametrize("none", [0, "0%"])
def test_a_budget_of_no_slots_is_refused(tmp_path, none):
    error = complaint(tmp_path, changed((*WORKERS, "policy", "budget", "max_surge"), none))
    assert "node group workers of dev.dev-1: budget.max_surge" in error.where
    assert "leaves 0 slots" in error.problem
    assert "at least 1" in error.remedy


def test_layers_that_contradict_each_other_are_named_by_cluster(tmp_path):
    data = changed(("environments", 0, "clusters", 0, "policy", "image"), {"ssm": "/x"})
    data["defaults"]["lock_duration"] = "0s"
    assert "lock_duration" in complaint(tmp_path, data).where


def test_an_unknown_cluster_or_group_is_answered_with_the_known_ones(tmp_path):
    fleet = load(written(tmp_path, GOOD))
    with pytest.raises(BadInputError, match=r"no cluster 'dev-2'.*Known: dev\.dev-1, prod\.prod-1\."):
        fleet.settings("dev-2")
    with pytest.raises(BadInputError, match=r"no node group 'gpu'.*Groups of dev\.dev-1: workers, masters\."):
        fleet.settings("dev-1").only(["gpu"])
    with pytest.raises(BadInputError, match="no node group of role control-plane"):
        fleet.settings("prod-1").only(roles=[Role.CONTROL_PLANE])


def test_a_run_can_be_narrowed_to_groups_and_roles():
    settings = Fleet.model_validate(GOOD).settings("dev-1")
    assert list(settings.only(["masters"]).groups) == ["masters"]
    assert list(settings.only(roles=[Role.WORKER]).groups) == ["workers"]
    assert settings.only() == settings


def test_masters_that_are_left_out_stay_in_sight_of_those_that_are_not():
    data = copy.deepcopy(GOOD)
    more = {"name": "more-masters", "asg": "dev-more", "role": "control-plane"}
    data["environments"][0]["clusters"][0]["groups"].append(more)
    settings = Fleet.model_validate(data).settings("dev-1")
    one = settings.only(["masters"])
    assert list(one.groups) == ["masters"]
    assert [group.name for group in one.watched] == ["masters", "more-masters"]
    assert [group.name for group in settings.only(["workers", "masters"]).only(["masters"]).watched] == [
        "masters",
        "more-masters",
    ]
    assert settings.only(["workers"]).beside == ()


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"budgett": {}}, "run parameters: budgett: there is no such setting"),
        ({"strategy": "slow"}, "run parameters: strategy: "),
        ({"budget": {"max_surge": 0}}, "run parameters: budget.max_surge: 0 leaves 0 slots"),
    ],
)
def test_bad_run_parameters_are_named_as_such(run, said):
    with pytest.raises(BadInputError) as caught:
        Fleet.model_validate(GOOD).settings("dev-1", run)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_not_yaml_is_named(tmp_path):
    with pytest.raises(BadInputError, match=r"none\.yaml: can't be read"):
        load(tmp_path / "none.yaml")
    with pytest.raises(BadInputError, match="is not YAML"):
        load(written(tmp_path, "a: [1"))
    with pytest.raises(BadInputError, match=r"fleet\.yaml: \(top\)"):
        load(written(tmp_path, "just a text"))


def test_a_key_that_stands_twice_is_refused_and_not_the_last_one_taken(tmp_path):
    text = yaml.safe_dump(GOOD) + "\ndefaults: {canary: true}\n"
    error = complaint(tmp_path, text)
    assert "'defaults' is there twice" in error.problem


@pytest.mark.parametrize(
    ("day", "why"),
    [
        ("2026-11-31", "there is no such day"),
        ("2027-02-29", "there is no such day"),
        ("2026-11-31 10:00:00", "write year-month-day"),
    ],
)
def test_a_date_that_does_not_exist_is_named_by_its_place(tmp_path, day, why):
    text = yaml.safe_dump(changed(("defaults", "blackouts"), [{"from": "FIRST", "to": "LAST"}]))
    error = complaint(tmp_path, text.replace("FIRST", "2026-10-01").replace("LAST", day))
    assert error.where.endswith("defaults.blackouts[0].to")
    assert error.problem.startswith(f"'{day}' is not a date: {why}")


def test_a_date_needs_no_quotes(tmp_path):
    data = changed(("defaults", "blackouts"), [{"from": date(2026, 12, 21), "to": "2027-01-01"}])
    (blackout,) = load(written(tmp_path, yaml.safe_dump(data))).settings("dev-1").policy.blackouts
    assert (blackout.first, blackout.last) == (date(2026, 12, 21), date(2027, 1, 1))


def test_what_was_merged_in_may_be_said_anew(tmp_path):
    data = changed(("defaults", "budget"), {"max_surge": 1})
    text = yaml.safe_dump({**data, "environments": []}).replace("environments: []", "")
    text = f"x: &x {{canary: true}}\n{text}"
    error = complaint(tmp_path, text + "environments: [{name: dev, <<: *x, canary: false}]\n")
    assert "twice" not in error.problem


def test_a_misspelt_name_comes_before_the_one_that_is_missing(tmp_path):
    data = changed(("environments", 0, "cluster"), [])
    del data["environments"][0]["clusters"]
    error = complaint(tmp_path, data)
    assert error.where.endswith("environments[dev].cluster")
    assert error.remedy == "Did you mean 'clusters'?"


def test_only_mistakes_of_somebody_are_counted(tmp_path):
    error = complaint(tmp_path, changed(("environments", 0, "clusters", 0, "aws", "region"), "eu-central"))
    assert "more after it" not in error.problem
