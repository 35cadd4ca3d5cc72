"""What a rotation needs besides AWS and its API server is asked before the night too: intake, image pod, program."""

from __future__ import annotations

from typing import Any

import pytest

from node_rotation.checkup.doctor import Check, Finding, Severity
from node_rotation.checkup.examine import Patient, examine
from node_rotation.errors import BlockedError, TransientError
from node_rotation.outcome import Blocked
from node_rotation.testing.checkup import MemoryAccess, MemoryAccount
from node_rotation.testing.world import MemoryWorld

CALLS = {"close": {"path": "/close"}, "open": {"path": "/open"}}
HTTP = {"http": {"url": "https://installer.example", **CALLS}}
CONFIG_MAP = {"kubernetes": {"kind": "ConfigMap", "namespace": "installer", "name": "intake", "close": {}, "open": {}}}
POD = {"namespace": "rotation", "spec": {"containers": [{"name": "kops", "image": "kops"}]}}


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld.simple(2)


def findings(world: MemoryWorld, denied: set[str] | None = None, **policy: Any) -> tuple[Finding, ...]:
    askers = (MemoryAccount(), MemoryAccess(denied or set()), world.clock)
    before = len(world.mutations)
    found = examine(Patient(world.settings(**policy), world.cloud, world.cluster, *askers, world.outside.value()))
    assert len(world.mutations) == before
    return found


def only(found: tuple[Finding, ...]) -> Finding:
    (finding,) = found
    assert finding.remedy
    return finding


def missing(what: str, remedy: str) -> BlockedError:
    return BlockedError(Blocked(what, ("image_command.argv",), remedy))


def test_an_intake_that_answers_is_no_finding(world: MemoryWorld) -> None:
    assert findings(world, intake=HTTP) == ()


def test_an_intake_that_nobody_answers_for_blocks(world: MemoryWorld) -> None:
    world.outside.http.away = TransientError("intake https://installer.example: no answer: refused")
    finding = only(findings(world, intake=HTTP))
    assert (finding.check, finding.severity) == (Check.INTAKE, Severity.BLOCKING)
    assert finding.object == "intake /close of node_rotation_intake"
    assert "no answer" in finding.what


def test_an_address_that_only_airflow_knows_is_unknown_here_and_not_tried(world: MemoryWorld) -> None:
    world.outside.http.unknown = missing("the intake has no url", "Give intake.http.url.")
    world.outside.http.away = TransientError("must not be asked")
    finding = only(findings(world, intake=HTTP))
    assert (finding.severity, finding.what) == (Severity.UNKNOWN, "the intake has no url")


def test_without_an_intake_nobody_is_asked(world: MemoryWorld) -> None:
    world.outside.http.away = TransientError("must not be asked")
    assert findings(world) == ()


def test_an_intake_in_the_cluster_needs_the_right_to_patch_its_object(world: MemoryWorld) -> None:
    assert findings(world, intake=CONFIG_MAP) == ()
    assert findings(world, {"patch configmaps"}) == ()
    finding = only(findings(world, {"patch configmaps"}, intake=CONFIG_MAP))
    assert (finding.check, finding.severity) == (Check.PERMISSIONS, Severity.BLOCKING)
    assert finding.what == "may not patch configmaps intake in installer"
    assert "docs/intake.md" in finding.remedy


@pytest.mark.parametrize("right", ["create pods", "get pods", "delete pods", "get pods/log"])
def test_an_image_pod_needs_rights_in_its_namespace(world: MemoryWorld, right: str) -> None:
    """The group's template launches its image already: the next one will need the pod."""
    assert findings(world, {right}) == ()
    finding = only(findings(world, {right}, image_step="pod", image_pod=POD))
    assert finding.what == f"may not {right} in rotation"
    assert "docs/image-steps.md" in finding.remedy


def test_a_program_that_is_not_here_is_a_warning_with_its_group(world: MemoryWorld) -> None:
    command = {"image_step": "command", "image_command": {"argv": ["kops-image"]}}
    assert findings(world, **command) == ()
    world.outside.commands.missing = missing("there is no program kops-image", "Install it.")
    assert findings(world) == ()
    finding = only(findings(world, **command))
    assert (finding.check, finding.severity) == (Check.IMAGE_STEP, Severity.WARNING)
    assert finding.what == "there is no program kops-image"
    assert finding.object == "image_command.argv, group workers"
