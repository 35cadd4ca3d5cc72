"""Whoever installs into the cluster, programs, and objects of other kinds, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from node_rotation.configuration.image_policy import ImageCommand
from node_rotation.configuration.intake_policy import HttpCall, HttpIntake, HttpPlace, ObjectRef
from node_rotation.errors import BlockedError, GoneError, RotationError
from node_rotation.names import REPLICAS
from node_rotation.outside import CommandState, Outside, PodState
from node_rotation.testing.faults import Journal
from node_rotation.world.kubernetes import Workload

HTTP, COMMAND, KUBERNETES = "http", "command", "kubernetes"
Variables = Mapping[str, str]


@dataclass
class Program:
    """What a command, or a pod, is like: what it does when it has run so long, and how it ends.

    :param takes_s: infinite: it hangs.
    """

    does: Callable[[Variables], object] = field(default=lambda variables: None)
    takes_s: float = 5.0
    code: int = 0
    says: tuple[str, ...] = ()


class MemoryHttp:
    """An intake's endpoint: open, until the last request was the one that closes."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.closed = False
        self.away: RotationError | None = None
        self.unknown: BlockedError | None = None

    def check(self, intake: HttpPlace) -> None:
        """Every address is known here, unless ``unknown`` says otherwise."""
        if self.unknown is not None:
            raise self.unknown

    def reach(self, intake: HttpPlace) -> None:
        """Somebody is there, unless ``away`` says otherwise."""
        if self.away is not None:
            raise self.away

    def send(self, intake: HttpPlace, call: HttpCall) -> None:
        """Take a request; the journal's faults for it are the service ``http`` and its path as action."""
        with self._journal.mutation(HTTP, call.path, body=call.body):
            self.closed = isinstance(intake, HttpIntake) and call == intake.close


@dataclass
class _Begun:
    program: Program
    at: float
    variables: Variables
    done: bool = False


class _Running:
    """What runs, by key, on the journal's clock."""

    def __init__(self, journal: Journal, program: Program) -> None:
        self._journal, self.program = journal, program
        self.begun: dict[str, _Begun] = {}
        self.ended: list[str] = []

    def begin(self, key: str, variables: Variables) -> None:
        """Start it; does its work once its time has come."""
        begun = self.begun[key] = _Begun(self.program, self._journal.clock.now(), dict(variables))
        if begun.program.takes_s != float("inf"):
            self._journal.clock.after(begun.program.takes_s, lambda: self._finish(key, begun))

    def _finish(self, key: str, begun: _Begun) -> None:
        if self.begun.get(key) is begun:
            begun.done = True
            begun.program.does(begun.variables)

    def end(self, key: str) -> None:
        """Forget it."""
        if self.begun.pop(key, None) is not None:
            self.ended.append(key)


class MemoryCommands:
    """Programs of one process; ``program`` says what the next one is like."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.running = _Running(journal, Program())
        self.missing: BlockedError | None = None

    @property
    def program(self) -> Program:
        """What the next command is like; tests change it."""
        return self.running.program

    def check(self, command: ImageCommand) -> None:
        """Every program is there, unless ``missing`` says otherwise."""
        if self.missing is not None:
            raise self.missing

    def begin(self, key: str, command: ImageCommand, variables: Variables) -> None:
        """Start it."""
        with self._journal.mutation(COMMAND, "begin", argv=command.argv):
            self.running.begin(key, variables)

    def state(self, key: str) -> CommandState | None:
        """How it goes."""
        begun = self.running.begun.get(key)
        if begun is None:
            return None
        return CommandState(begun.program.code if begun.done else None, begun.program.says)

    def end(self, key: str) -> None:
        """End it."""
        self.running.end(key)


class MemoryObjects:
    """Objects of other kinds, by :class:`ObjectRef` as text, and pods that run to their end."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.running = _Running(journal, Program())
        self.found: dict[str, dict[str, Any]] = {}

    def read(self, ref: ObjectRef) -> Mapping[str, Any]:
        """An object as it is.

        :raises GoneError: if there is no such object.
        """
        self._journal.read(KUBERNETES, "read")
        if str(ref) not in self.found:
            raise GoneError(f"{ref} is gone")
        return self.found[str(ref)]

    def deployments(self) -> tuple[Workload, ...]:
        """Those among them, for whoever lists workloads; all their pods are Ready at once."""
        return tuple(_deployment(name, found) for name, found in self.found.items() if name.startswith("Deployment "))

    def patch(self, ref: ObjectRef, patch: Mapping[str, Any]) -> None:
        """A JSON merge patch.

        :raises GoneError: if there is no such object.
        """
        with self._journal.mutation(KUBERNETES, "patch", object=str(ref)):
            if str(ref) not in self.found:
                raise GoneError(f"{ref} is gone")
            self.found[str(ref)] = _merged(self.found[str(ref)], patch)

    def begin_pod(self, manifest: Mapping[str, Any]) -> None:
        """Create a pod; nothing if one of its name is there."""
        meta = manifest["metadata"]
        key = f"{meta['namespace']}/{meta['name']}"
        with self._journal.mutation(KUBERNETES, "create_pod", pod=key):
            if key not in self.running.begun:
                env = manifest["spec"]["containers"][0].get("env", ())
                self.running.begin(key, {one["name"]: one["value"] for one in env})

    def pod_state(self, namespace: str, name: str) -> PodState | None:
        """How it goes; None if there is none."""
        self._journal.read(KUBERNETES, "pod")
        begun = self.running.begun.get(f"{namespace}/{name}")
        if begun is None:
            return None
        if not begun.done:
            return PodState("Running")
        return PodState("Failed", f"exit code {begun.program.code}") if begun.program.code else PodState("Succeeded")

    def pod_log(self, namespace: str, name: str) -> tuple[str, ...]:
        """What it said."""
        begun = self.running.begun.get(f"{namespace}/{name}")
        return begun.program.says if begun else ()

    def remove_pod(self, namespace: str, name: str) -> None:
        """Delete it; gone is fine."""
        with self._journal.mutation(KUBERNETES, "remove_pod", pod=f"{namespace}/{name}"):
            self.running.end(f"{namespace}/{name}")


@dataclass
class MemoryOutside:
    """Whoever installs, and a machine to run programs on."""

    http: MemoryHttp
    commands: MemoryCommands

    @classmethod
    def of(cls, journal: Journal) -> MemoryOutside:
        """With everything open and nothing running."""
        return cls(MemoryHttp(journal), MemoryCommands(journal))

    def value(self, *, commands: bool = True) -> Outside:
        """As a rotation sees it.

        :param commands: False where nothing may be run.
        """
        return Outside(self.http, self.commands if commands else None)


def _deployment(name: str, found: Mapping[str, Any]) -> Workload:
    namespace, _, own = name.removeprefix("Deployment ").partition("/")
    replicas = int(found.get("spec", {}).get("replicas", 1))
    before = found.get("metadata", {}).get("annotations", {}).get(REPLICAS, "")
    return Workload("Deployment", namespace, own, name, replicas, replicas, before_pause=before)


def _merged(now: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396."""
    result = dict(now)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = _merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result
