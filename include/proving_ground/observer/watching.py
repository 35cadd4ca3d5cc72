"""Watches, never polls: one thread per watched kind, and `tail -F` on the logs of the AWS side."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from queue import Queue
from typing import TYPE_CHECKING, Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AGAIN_S = 0.5
Item = tuple[float, str, str, dict[str, Any]]
"""when, kind ("aws", "request", "node", …), change, object"""

FAILED = "failed"
"""The kind of an item that says that something is not seen any more."""

PATHS = {
    "node": "/api/v1/nodes",
    "pod": "/api/v1/pods",
    "budget": "/apis/policy/v1/poddisruptionbudgets",
    "workload": "/apis/apps/v1/deployments",
    "statefulset": "/apis/apps/v1/statefulsets",
    "lease": "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
}


def kubernetes(kubeconfig: Path, queue: Queue[Item]) -> threading.Event:
    """List each kind into the queue, then go on watching it on a thread of its own.

    :param kubeconfig: how to reach the cluster.
    :param queue: where everything seen goes.
    :return: once set, no watch is begun anew.
    """
    over = threading.Event()
    for kind, path in PATHS.items():
        api = config.new_client_from_config(str(kubeconfig))
        watch = _Watch(api, path, _kind(kind), queue, over)
        watch.read()
        _begin(queue, path, watch.run)
    return over


def _begin(queue: Queue[Item], what: str, go_on: Callable[..., None], *args: Any) -> None:
    """Watch on a thread of its own; who can't see any more says so, or its zeros would be taken for what it saw."""

    def until_it_breaks() -> None:
        try:
            go_on(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread's end must not go unseen
            queue.put((time.time(), FAILED, "", {"why": f"{what} can't be watched any more: {error!r}"}))

    threading.Thread(target=until_it_breaks, daemon=True).start()


class _Watch:
    """One kind: a list, then a watch from there on; where the API server ends it, both again."""

    def __init__(self, api: client.ApiClient, path: str, kind: str, queue: Queue[Item], over: threading.Event) -> None:
        self._api, self._path, self._kind, self._queue, self._over = api, path, kind, queue, over
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._version = ""

    def read(self) -> None:
        """Everything there is as added, and what is there no more as deleted."""
        listed = _get(self._api, self._path)
        self._version = listed["metadata"]["resourceVersion"]
        found = {_key(one): one for one in listed["items"]}
        for key in self._known.keys() - found.keys():
            self._put("DELETED", self._known[key])
        for one in found.values():
            self._put("ADDED", one)

    def run(self) -> None:
        """Watch until it is over; an API server may be away for a moment."""
        while not self._over.is_set():
            try:
                self._watch()
            except (_Expired, client.ApiException, HTTPError):
                if self._over.wait(AGAIN_S):
                    return
                with contextlib.suppress(client.ApiException, HTTPError):
                    self.read()

    def _watch(self) -> None:
        query = {"watch": "true", "resourceVersion": self._version, "allowWatchBookmarks": "true"}
        buffer = b""
        for chunk in _call(self._api, self._path, query, timeout=None).stream(amt=None):
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "ERROR":
            raise _Expired(event["object"].get("message"))
        self._version = event["object"]["metadata"]["resourceVersion"]
        if event["type"] != "BOOKMARK":
            self._put(event["type"], event["object"])

    def _put(self, change: str, found: dict[str, Any]) -> None:
        if change == "DELETED":
            self._known.pop(_key(found), None)
        else:
            self._known[_key(found)] = found
        self._queue.put((time.time(), self._kind, change, found))


class _Expired(Exception):  # noqa: N818 - never leaves this module
    """The API server can't go on with a watch from where it was."""


def _key(found: dict[str, Any]) -> tuple[str, str]:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _kind(kind: str) -> str:
    return "workload" if kind == "statefulset" else kind


def _get(api: client.ApiClient, path: str, **query: Any) -> dict[str, Any]:
    response = _call(api, path, query)
    listed: dict[str, Any] = json.loads(response.data)
    return listed


def _call(api: client.ApiClient, path: str, query: dict[str, Any], timeout: float | None = 20) -> Any:
    return api.call_api(
        path,
        "GET",
        query_params=list(query.items()),
        auth_settings=["BearerToken"],
        _preload_content=False,
        _return_http_data_only=True,
        _request_timeout=timeout,
    )


def follow(path: Path, kind: str, queue: Queue[Item], *, from_start: bool) -> subprocess.Popen[str]:
    """Put every JSON line of a growing file into the queue.

    :param from_start: the lines already there too.
    """
    lines = "+1" if from_start else "0"
    tail = subprocess.Popen(["tail", "-n", lines, "-F", str(path)], stdout=subprocess.PIPE, text=True)
    _begin(queue, str(path), _read, tail, kind, queue)
    return tail


def _read(tail: subprocess.Popen[str], kind: str, queue: Queue[Item]) -> None:
    assert tail.stdout is not None
    for line in tail.stdout:
        event = json.loads(line)
        queue.put((event["t"], kind, "", event))
