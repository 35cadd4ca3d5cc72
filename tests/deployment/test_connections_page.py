"""docs/connections.md: what it has kubectl bind is what docs/rbac.yaml has."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

DOCS = Path(__file__).parents[2] / "docs"
LINE = re.compile(
    r"kubectl create (?P<kind>clusterrole|role)binding \S+ (?:--namespace=(?P<namespace>\S+) )?"
    r"--(?P<of>clusterrole|role)=(?P<role>\S+) --(?P<whom>group=node-rotation|serviceaccount=\S+:\S+)$",
    re.MULTILINE,
)
Role = tuple[str, str, str]


def bound(whom: str) -> set[Role]:
    """Kind, namespace and name of the roles that the page binds."""
    found = list(LINE.finditer((DOCS / "connections.md").read_text()))
    assert all(one["kind"] == one["of"] for one in found)
    return {(one["of"], one["namespace"] or "", one["role"]) for one in found if one["whom"].startswith(whom)}


def of_the_manifest() -> tuple[set[Role], set[Role]]:
    """All roles, and those that it binds itself."""
    documents = list(yaml.safe_load_all((DOCS / "rbac.yaml").read_text()))
    places = {d["metadata"]["name"]: d["metadata"].get("namespace", "") for d in documents if d["kind"] == "Role"}
    roles = {
        (d["kind"].lower(), d["metadata"].get("namespace", ""), d["metadata"]["name"])
        for d in documents
        if d["kind"] in ("Role", "ClusterRole")
    }
    refs = [d["roleRef"] for d in documents if d["kind"].endswith("Binding")]
    binds = {(r["kind"].lower(), places[r["name"]] if r["kind"] == "Role" else "", r["name"]) for r in refs}
    return roles, binds


def test_every_role_that_the_manifest_leaves_unbound_has_its_command() -> None:
    roles, binds = of_the_manifest()
    assert bound("group") == roles - binds


def test_a_service_account_gets_what_the_manifest_gives_the_group() -> None:
    _, binds = of_the_manifest()
    assert bound("serviceaccount") == binds
