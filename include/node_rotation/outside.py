"""What is neither AWS nor Kubernetes: whoever installs into the cluster, and the programs of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from node_rotation.configuration.image_policy import ImageCommand
from node_rotation.configuration.intake_policy import HttpCall, HttpPlace, ObjectRef


class Http(Protocol):
    """Endpoints of others: an intake, a webhook."""

    def check(self, intake: HttpPlace) -> None:
        """See that its address is known; sends nothing. :raises BlockedError: if it is not."""
        ...

    def reach(self, intake: HttpPlace) -> None:
        """See that somebody takes connections there; sends no request.

        :raises TransientError: nobody does.
        :raises BlockedError: its address is not known, or is none.
        """
        ...

    def send(self, intake: HttpPlace, call: HttpCall) -> None:
        """Send one request, bounded by ``intake.request_timeout``.

        :raises TransientError: no answer, or one that may change by itself (5xx, 408, 425, 429).
        :raises BlockedError: a refusal: nothing was done.
        """
        ...


@dataclass(frozen=True, slots=True)
class CommandState:
    """A command that was begun.

    :param code: its exit code; None while it runs.
    :param tail: the last lines of its output.
    """

    code: int | None
    tail: tuple[str, ...] = ()


class Commands(Protocol):
    """Programs of this machine, each known by a key to the process that began it, and to no other."""

    def check(self, command: ImageCommand) -> None:
        """See that program and directory are there; starts nothing. :raises BlockedError: if not."""
        ...

    def begin(self, key: str, command: ImageCommand, variables: Mapping[str, str]) -> None:
        """Start it. :raises BlockedError: if it can't be started."""
        ...

    def state(self, key: str) -> CommandState | None:
        """How it goes; None if this process did not begin it."""
        ...

    def end(self, key: str) -> None:
        """End it, with everything that it started; nothing if it is not ours."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """Both.

    :param commands: None where nothing may be run, as in Airflow's triggerer.
    """

    http: Http
    commands: Commands | None


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod that runs to its end.

    :param phase: Kubernetes' own word.
    :param reason: why it does not run, or how it ended, e.g. ``ImagePullBackOff``.
    """

    phase: str
    reason: str = ""


class Objects(Protocol):
    """Objects of a cluster of any kind, and pods that run to their end."""

    def read(self, ref: ObjectRef) -> Mapping[str, Any]:
        """An object as it is.

        :raises GoneError: if there is no such kind or object.
        """
        ...

    def patch(self, ref: ObjectRef, patch: Mapping[str, Any]) -> None:
        """A JSON merge patch. :raises GoneError: if there is no such kind or object."""
        ...

    def begin_pod(self, manifest: Mapping[str, Any]) -> None:
        """Create a pod; nothing if one of its name is there."""
        ...

    def pod_state(self, namespace: str, name: str) -> PodState | None:
        """How it goes; None if there is none."""
        ...

    def pod_log(self, namespace: str, name: str) -> tuple[str, ...]:
        """The last lines of each container's log; says why where a log can't be read."""
        ...

    def remove_pod(self, namespace: str, name: str) -> None:
        """Delete it; gone is fine."""
        ...
