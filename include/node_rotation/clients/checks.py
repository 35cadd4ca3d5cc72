"""Asks a user's own gate checks; every call is bounded, and whatever goes wrong is an answer."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from node_rotation.clients.text import short
from node_rotation.workloads.gate_checks import GateCheck

TIMEOUT_S = 5.0
MOST_BYTES = 1_000_000
AT_ONCE = 8


class _Stay(HTTPRedirectHandler):
    """A redirect is an answer like any other: ``expect: 301`` may be wanted."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = build_opener(_Stay)


def ask(checks: Collection[GateCheck]) -> Mapping[str, str]:
    """Why checks are not green, by their label; green ones are left out.

    :param checks: asked side by side, each for five seconds at most between two bytes.
    """
    if not checks:
        return {}
    with ThreadPoolExecutor(min(len(checks), AT_ONCE), thread_name_prefix="gate-check") as pool:
        answers = dict(zip((c.label for c in checks), pool.map(_ask, checks), strict=True))
    return {label: why for label, why in answers.items() if why}


def _ask(check: GateCheck) -> str:
    try:
        if check.http:
            return check.judge_status(_get(check.http)[0])
        return _ask_prometheus(check)
    except (OSError, HTTPException, ValueError) as error:
        return f"{check.label}: no answer ({short(error)})"


def _ask_prometheus(check: GateCheck) -> str:
    """An instant query; https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries."""
    query = urlencode({"query": check.query})
    status, body = _get(f"{str(check.prometheus).rstrip('/')}/api/v1/query?{query}")
    if status != 200:
        return f"{check.label}: refused with {status} ({short(body)})"
    try:
        kind, found = _read(body)
    except (ValueError, LookupError, TypeError):  # a login page, a proxy's own words
        return f"{check.label}: no answer of a Prometheus ({short(body)})"
    if found is None:
        return f"{check.label}: its result is a {kind}, not a vector or a scalar"
    return check.judge_values(found)


def _read(body: str) -> tuple[str, tuple[float, ...] | None]:
    """The result's type and its values; None for types without one value per series."""
    data = json.loads(body)["data"]
    kind, result = str(data["resultType"]), data["result"]
    if kind == "scalar":
        return kind, (float(result[1]),)
    return kind, tuple(float(series["value"][1]) for series in result) if kind == "vector" else None


def _get(address: str) -> tuple[int, str]:
    request = Request(address, headers={"User-Agent": "node-rotation"})  # noqa: S310 - the policy allows http(s) only
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read(MOST_BYTES).decode(errors="replace")
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read(MOST_BYTES).decode(errors="replace")
