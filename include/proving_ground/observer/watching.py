"""Watches, never polls: one thread per watched kind, and `tail -F` on the logs of the AWS side."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from queue import Queue
from typing import TYPE_CHECKING, Any

from kubernetes import client, config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


def kubernetes(kubeconfig: Path, queue: Queue[Item]) -> None:
    """List each kind into the queue, then go on watching it on a thread of its own.

    :param kubeconfig: how to reach the cluster.
    :param queue: where everything seen goes.
    """
    for kind, path in PATHS.items():
        api = config.new_client_from_config(str(kubeconfig))
        listed = _get(api, path)
        for found in listed["items"]:
            queue.put((time.time(), _kind(kind), "ADDED", found))
        version = listed["metadata"]["resourceVersion"]
        _begin(queue, path, _watch, api, path, kind, version, queue)


def _begin(queue: Queue[Item], what: str, go_on: Callable[..., None], *args: Any) -> None:
    """Watch on a thread of its own; who can't see any more says so, or its zeros would be taken for what it saw."""

    def until_it_breaks() -> None:
        try:
            go_on(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread's end must not go unseen
            queue.put((time.time(), FAILED, "", {"why": f"{what} can't be watched any more: {error!r}"}))

    threading.Thread(target=until_it_breaks, daemon=True).start()


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


def _watch(api: client.ApiClient, path: str, kind: str, version: str, queue: Queue[Item]) -> None:
    while True:
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        buffer = b""
        for chunk in _call(api, path, query, timeout=None).stream(amt=None):
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(f"the watch on {path} broke off: {event['object'].get('message')}")
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    queue.put((time.time(), _kind(kind), event["type"], event["object"]))


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
