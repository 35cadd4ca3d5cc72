"""docs/operations.md, what it asks of Airflow's API: each path is one of Airflow's, each body one that it takes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from node_rotation_airflow.constants import APPROVE_TASK, DRIFT_CHECK, ROTATE_NODES, WAIT_TASK
from node_rotation_airflow.operators.approve import ApprovePlanOperator
from node_rotation_airflow.params import rotation_params

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SHELL = {"AIRFLOW_URL": "", "RUNS": f"/api/v2/dags/{ROTATE_NODES}/dagRuns", "RUN": "manual__2026-11-09T01:00:00+00:00"}


class Asked(NamedTuple):
    """One call of the page."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


def calls() -> list[Asked]:
    (block,) = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for name, value in SHELL.items():
        block = re.sub(rf"\${name}\b", value, block)
    return [_call(shlex.split(line)) for line in block.splitlines() if line.startswith("api ")]


def _call(words: list[str]) -> Asked:
    arguments = iter(words[1 : words.index("|")] if "|" in words else words[1:])
    method, body, url = "GET", None, ""
    for word in arguments:
        if word == "-X":
            method = next(arguments)
        elif word == "--json":
            body, method = json.loads(next(arguments)), "POST" if method == "GET" else method
        else:
            url = word
    path, _, query = url.partition("?")
    return Asked(method, path, dict(pair.split("=") for pair in query.split("&") if pair), body)


@pytest.fixture(scope="module")
def routes() -> list[Any]:
    from airflow.api_fastapi.core_api.routes.public import public_router

    return list(public_router.routes)


def route_of(routes: list[Any], asked: Asked) -> Any:
    fitting = (r for r in routes if asked.method in r.methods and r.path_regex.fullmatch(asked.path))
    found = next(fitting, None)
    assert found, f"Airflow has no {asked.method} {asked.path}"
    return found


def errors(route: Any, body: Any) -> list[Any]:
    (field,) = route.dependant.body_params
    return list(field.validate(body, {}, loc=("body",))[1] or ())


def test_every_call_is_one_of_airflows_and_its_body_is_taken(routes: list[Any]) -> None:
    found = calls()
    assert [asked.method for asked in found] == ["POST", "GET", "GET", "PATCH", "PATCH", "PATCH"]
    for asked in found:
        route = route_of(routes, asked)
        assert set(asked.query) <= {field.alias for field in _query_fields(route.dependant)}
        if asked.body is not None:
            assert errors(route, asked.body) == []
            assert errors(route, {key: None for key in asked.body} | {"other": 1}) != []


def _query_fields(dependant: Any) -> Iterator[Any]:
    yield from dependant.query_params
    for further in dependant.dependencies:
        yield from _query_fields(further)


def test_its_names_are_those_of_the_dags() -> None:
    start, approvals, waits, answer, _stop, pause = calls()
    conf: Mapping[str, Any] = start.body["conf"]
    assert set(conf) <= set(rotation_params([]))
    assert (approvals.query["task_id"], waits.query["task_id"]) == (APPROVE_TASK, WAIT_TASK)
    assert answer.body["chosen_options"] == [ApprovePlanOperator.APPROVE]
    assert f"/taskInstances/{APPROVE_TASK}/-1/" in answer.path
    assert pause.path.endswith(f"/{DRIFT_CHECK}")
