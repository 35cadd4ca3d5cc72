"""What people type: options where they are used to put them, and mistakes answered with what to type instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.node_rotation.cli.conftest import Cli

from node_rotation.cli.arguments import in_front
from node_rotation.testing.world import MemoryWorld

VALUED = {"--set", "--reason", "-g"}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("plan dev", "plan dev"),
        ("plan dev -o json", "-o json plan dev"),
        ("-o text plan dev -o json", "-o text -o json plan dev"),
        ("plan dev --output=json --debug", "--output=json --debug plan dev"),
        ("plan -ojson dev --fleet f.yaml -g a", "-ojson --fleet f.yaml plan dev -g a"),
        ("freeze ami-1 --reason -o", "freeze ami-1 --reason -o"),
        ("plan dev -- -o json", "plan dev -- -o json"),
        ("plan dev -o", "plan dev -o"),
        ("", ""),
    ],
)
def test_what_holds_for_every_command_may_stand_anywhere(given: str, found: str) -> None:
    assert in_front(given.split(), VALUED) == found.split()


def test_so_output_may_stand_behind_the_command(cli: Cli, name: str) -> None:
    assert cli("plan", name, "-o", "json").document["cluster"] == name
    assert cli("drift", "nowhere", "--output", "json").document["error"]["exit_code"] == 1


@pytest.mark.parametrize("asked", [["-h"], ["--help"], ["plan", "-h"], ["plan", "--help"]])
def test_help_is_had_either_way(cli: Cli, asked: list[str]) -> None:
    ran = cli(*asked)
    assert (ran.code, ran.err) == (0, "")
    assert "Usage: node-rotation" in ran.out


def test_help_has_the_exit_codes(cli: Cli) -> None:
    said = " ".join(cli("--help").out.split())
    for code in ("0 nothing to do", "1 something went wrong", "2 drift found", "3 blocked"):
        assert code in said


def test_the_version_is_told(cli: Cli) -> None:
    ran = cli("--version")
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r"node-rotation .+\n", ran.out)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["plan", "dev", "-o"], "Option '-o' requires an argument."),
        (["plan"], "Missing argument 'CLUSTER'. See: node-rotation plan --help"),
        (["plan", "a", "b"], "Got unexpected extra argument(s) (b). See: node-rotation plan --help"),
        (["plan", "dev", "--role", "master"], "Invalid value for '--role': 'master' is not one of 'worker', 'control-"),
        (["plan", "dev", "--mode", "plan"], "No such option: --mode. See: node-rotation plan --help"),
        (
            ["rotate", "dev", "--dry-run"],
            "No such option: --dry-run. node-rotation plan CLUSTER shows what it would do.",
        ),
        (
            ["rotate", "--cluster", "dev"],
            "No such option: --cluster. Name it as an argument: node-rotation rotate dev.",
        ),
        (["plna"], "No such command 'plna'. Did you mean 'plan'? See: node-rotation --help"),
        ([], "Missing command. See: node-rotation --help"),
        (["-o", "yaml", "drift"], "Invalid value for '--output' / '-o': 'yaml' is not one of 'text', 'json'."),
    ],
)
def test_what_is_typed_wrong_is_answered_with_what_helps(cli: Cli, typed: list[str], said: str) -> None:
    ran = cli(*typed)
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("max_surge=3", "Did you mean 'budget.max_surge'?"),
        ("settle=3s", "Did you mean 'gate.settle'?"),
        ("drain.timeot=5m", "Did you mean 'drain.timeout'?"),
        ("drian.timeout=5m", "Did you mean 'drain'?"),
    ],
)
def test_a_setting_that_is_misspelt_or_lies_deeper(cli: Cli, setting: str, meant: str) -> None:
    ran = cli("plan", "dev", "--set", setting)
    assert ran.code == 1
    assert f"there is no such setting. {meant}" in ran.err


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ("dve", "there is no cluster 'dve' in the fleet. Did you mean 'dev'? Known: dev.dev."),
        ("prod.dev", "there is no cluster 'prod.dev' in the fleet. Did you mean 'dev.dev'? Known: dev.dev."),
        ("nowhere", "there is no cluster 'nowhere' in the fleet. Known: dev.dev."),
    ],
)
def test_a_cluster_that_is_misspelt(cli: Cli, cluster: str, said: str) -> None:
    assert said in cli("plan", cluster).err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--set", "image=null"], "image: is empty, and has to be settings, as key: value"),
        (["--set", "budget=3", "--max-surge", "2"], "budget: 3 is not settings, as key: value"),
        (["--set", "blackouts=[{from: 2026-11-31, to: 2026-12-01}]"], "blackouts: is for the fleet file"),
    ],
)
def test_a_value_that_can_not_be_is_named_with_its_setting(cli: Cli, name: str, typed: list[str], said: str) -> None:
    ran = cli("plan", name, *typed)
    assert ran.code == 1
    assert ran.err.startswith(f"node-rotation: run parameters: {said}")


def test_an_environment_is_no_cluster(cli: Cli, fleet_file: Path) -> None:
    fleet_file.write_text(fleet_file.read_text().replace("name: dev\n", "name: one\n", 1))
    ran = cli("plan", "dev")
    assert "'dev' is an environment. Name one of its clusters: dev.one." in ran.err


@pytest.mark.parametrize("command", ["freeze", "unfreeze"])
def test_an_image_is_frozen_by_its_id(cli: Cli, world: MemoryWorld, command: str) -> None:
    ran = cli(command, "base-new", "--reason", "bad")
    assert ran.code == 1
    assert "IMAGE: 'base-new' is not an image's id: write the id, not the name. E.g. ami-0123456789abcdef0." in ran.err
    assert world.mutations == []
