"""Something of a cluster, followed while a story goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import watch

ROUND_S = 1


@contextmanager
def following(listing: Callable[..., Any], namespace: str, told: Callable[[Any], None], **which: str) -> Iterator[None]:
    """Call ``told`` with each object as it comes or changes, from a thread of its own, until the story's end.

    :param listing: e.g. ``core.list_namespaced_pod``.
    :param which: selectors.
    """
    over = threading.Event()
    version = listing(namespace, **which).metadata.resource_version

    def follow() -> None:
        nonlocal version
        while not over.is_set():
            stream = watch.Watch().stream(
                listing, namespace, resource_version=version, timeout_seconds=ROUND_S, **which
            )
            for event in stream:
                version = event["object"].metadata.resource_version
                if event["type"] != "DELETED":
                    told(event["object"])

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10 * ROUND_S)
