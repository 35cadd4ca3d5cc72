"""The little a DAG file needs of the fleet file, and what it says when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_rotation_airflow import fleet_file as fleet
from node_rotation_airflow.nights import Night


def test_clusters_come_in_promotion_order(fleet_file: Path) -> None:
    assert fleet.cluster_names() == ("dev.one", "prod.eu-1")


def test_node_groups_of_one_name_say_in_which_clusters(fleet_file: Path) -> None:
    assert fleet.group_names() == {"workers": ("dev.one", "prod.eu-1"), "masters": ("dev.one",)}


def test_the_night_is_the_fleet_files(fleet_file: Path) -> None:
    assert fleet.night() == Night("01:00", "UTC")
    fleet_file.write_text(fleet_file.read_text() + "night: {at: 22:30, zone: Europe/Berlin}\n")
    assert fleet.night() == Night("22:30", "Europe/Berlin")


@pytest.mark.parametrize("text", ["", "environments: [", "environments: 3", "environments: [{clusters: [{}]}]"])
def test_what_is_no_fleet_file_is_said_with_its_path(fleet_file: Path, text: str) -> None:
    fleet_file.write_text(text)

    with pytest.raises(ValueError, match=r"fleet\.yaml is no fleet file .*NODE_ROTATION_FLEET"):
        fleet.cluster_names()


def test_a_date_that_does_not_exist_is_left_to_the_first_task(fleet_file: Path) -> None:
    fleet_file.write_text(fleet_file.read_text() + "defaults: {blackouts: [{from: 2026-11-31, to: 2026-12-01}]}\n")

    assert fleet.cluster_names() == ("dev.one", "prod.eu-1")


def test_groups_without_a_name_are_left_to_the_first_task(fleet_file: Path) -> None:
    fleet_file.write_text("environments: [{name: dev, clusters: [{name: one, groups: [{}, 3]}]}]")

    assert fleet.group_names() == {}


def test_without_a_variable_it_lies_beside_the_dags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_ROTATION_FLEET", raising=False)

    assert fleet.path() == Path(__file__).parents[2] / "config" / "fleet.yaml"
