"""What docs/image-steps.md, docs/intake.md and docs/load-balancers.md show is valid, and its scripts run."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

import pytest
import yaml

from node_rotation.clients.commands import LocalCommands
from node_rotation.configuration.image_policy import ImageCommand
from node_rotation.policy import Policy, merge

DOCS = Path(__file__).parents[2] / "docs"
WITHIN_S = 30.0
TOLD = {
    "NODE_ROTATION_GROUP": "nodes",
    "NODE_ROTATION_CLUSTER": "prod",
    "NODE_ROTATION_KOPS_CLUSTER": "prod.example.com",
    "NODE_ROTATION_IMAGE_ID": "ami-0abc",
}
KOPS = """kops edit instancegroup nodes --name prod.example.com --set spec.image=ami-0abc
kops update cluster --name prod.example.com --yes
"""
TERRAFORM = """terraform apply -input=false -auto-approve -lock-timeout=5m -var image_id=ami-0abc -target module.nodes
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["image-steps.md", "intake.md", "load-balancers.md"])
def test_every_policy_is_valid(page: str) -> None:
    shown = [yaml.safe_load(text)["policy"] for text in blocks(page, "yaml")]
    assert len(shown) >= 2
    for policy in shown:
        assert merge(Policy(), policy).model_fields_set >= policy.keys()


@pytest.mark.parametrize(("index", "tool", "asked"), [(0, "kops", KOPS), (1, "terraform", TERRAFORM)])
def test_the_scripts_ask_their_tool_for_the_target(
    index: int, tool: str, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the tool writes down what it was asked."""
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / tool
    stand_in.write_text(f'#!/bin/sh\necho {tool} "$@" >> {tmp_path}/asked\n')
    script = tmp_path / f"{tool}-image.sh"
    script.write_text(blocks("image-steps.md", "bash")[index])
    for file in (stand_in, script):
        file.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    shown = yaml.safe_load(blocks("image-steps.md", "yaml")[index])["policy"]["image_command"]
    command = ImageCommand.model_validate({**shown, "directory": str(tmp_path)})
    commands, pause = LocalCommands(), threading.Event()
    commands.begin("one", command, TOLD)
    until = time.monotonic() + WITHIN_S
    while (state := commands.state("one")) is not None and state.code is None and time.monotonic() < until:
        pause.wait(0.02)
    commands.end("one")

    assert state is not None
    assert state.code == 0, state.tail
    assert (tmp_path / "asked").read_text() == asked
