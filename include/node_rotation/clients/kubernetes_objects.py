"""Objects of any kind by an API server's own list of kinds, and pods that run to their end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from node_rotation.clients.kubernetes_api import Api, Json
from node_rotation.clients.text import short
from node_rotation.configuration.intake_policy import ObjectRef
from node_rotation.errors import ConflictError, GoneError, RotationError
from node_rotation.outside import PodState

TAIL = 20


class Kind(NamedTuple):
    """A kind of objects as an API server has it.

    :param namespace: where the object is; "" for kinds without namespaces.
    """

    plural: str
    namespace: str


def kind_of(api: Api, ref: ObjectRef) -> Kind:
    """The kind of an object, from the API server's own list.

    :raises GoneError: if there is no such kind.
    """
    kinds = api.call("GET", _base(ref), f"the kinds of {ref.api_version}").get("resources") or []
    found = next((k for k in kinds if k["kind"] == ref.kind and "/" not in k["name"]), None)
    if found is None:
        raise GoneError(f"the API server knows no kind {ref.kind} in {ref.api_version}")
    return Kind(str(found["name"]), ref.namespace or "default" if found["namespaced"] else "")


def _base(ref: ObjectRef) -> str:
    return f"/api/{ref.api_version}" if ref.api_version == "v1" else f"/apis/{ref.api_version}"


class KubernetesObjects:
    """The objects of one cluster.

    :param api: its API server.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def read(self, ref: ObjectRef) -> Mapping[str, Any]:
        """An object as it is.

        :raises GoneError: if there is no such kind or object.
        """
        return self._api.call("GET", self._path(ref), str(ref))

    def patch(self, ref: ObjectRef, patch: Mapping[str, Any]) -> None:
        """A JSON merge patch.

        :raises GoneError: if there is no such kind or object.
        """
        self._api.merge(self._path(ref), str(ref), patch)

    def _path(self, ref: ObjectRef) -> str:
        kind = kind_of(self._api, ref)
        place = f"/namespaces/{kind.namespace}" if kind.namespace else ""
        return f"{_base(ref)}{place}/{kind.plural}/{ref.name}"

    def begin_pod(self, manifest: Mapping[str, Any]) -> None:
        """Create a pod; nothing if one of its name is there."""
        meta = manifest["metadata"]
        with suppress(ConflictError):
            what = f"pod {meta['namespace']}/{meta['name']}"
            self._api.call("POST", _pods(meta["namespace"]), what, body=dict(manifest))

    def pod_state(self, namespace: str, name: str) -> PodState | None:
        """How it goes; None if there is none."""
        try:
            found = self._api.call("GET", f"{_pods(namespace)}/{name}", f"pod {namespace}/{name}")
        except GoneError:
            return None
        status = found.get("status") or {}
        return PodState(str(status.get("phase", "Pending")), short(_reason(status)))

    def pod_log(self, namespace: str, name: str) -> tuple[str, ...]:
        """The last lines of each container's log; says why where a log can't be read."""
        try:
            found = self._api.call("GET", f"{_pods(namespace)}/{name}", f"pod {namespace}/{name}")
        except RotationError as error:
            return (str(error),)
        spec = found.get("spec") or {}
        names = [c["name"] for part in ("initContainers", "containers") for c in spec.get(part) or ()]
        return tuple(line for container in names for line in self._lines(namespace, name, container))

    def _lines(self, namespace: str, name: str, container: str) -> list[str]:
        query = {"container": container, "tailLines": TAIL}
        try:
            text = self._api.text(f"{_pods(namespace)}/{name}/log", f"log of pod {namespace}/{name}", query)
        except RotationError as error:
            return [f"(no log of container {container}: {short(error, 160)})"]
        return [short(line) for line in text.splitlines() if line.strip()]

    def remove_pod(self, namespace: str, name: str) -> None:
        """Delete it; gone is fine."""
        with suppress(GoneError):
            self._api.call("DELETE", f"{_pods(namespace)}/{name}", f"pod {namespace}/{name}")


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def _reason(status: Json) -> str:
    """The first thing that is not well, from the containers up to the pod itself."""
    for part in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(part) or ():
            state = container.get("state") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
            if waiting:
                return f"{container['name']}: {waiting.get('reason', '')} {waiting.get('message', '')}"
            if ended.get("exitCode"):
                return f"{container['name']}: {ended.get('reason', '')}, exit code {ended['exitCode']}"
    refused = [c for c in status.get("conditions") or () if c.get("status") == "False" and c.get("message")]
    return str(status.get("message") or (refused[0]["message"] if refused else ""))
