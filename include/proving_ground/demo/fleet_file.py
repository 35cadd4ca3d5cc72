"""The fleet file of the demo's three environments: what is known beforehand, and where this ground answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).parent / "environments.yaml"
HEAD = "# Written by `make demo` from include/proving_ground/demo/environments.yaml.\n"


def write(directory: Path, endpoint: str, file: Path) -> tuple[str, ...]:
    """Write the fleet file of the ground in a directory; its ports are new with every start.

    :param directory: the ground's.
    :param endpoint: of its AWS side, which plays whoever installs into clusters, too.
    :param file: where to.
    :return: ``environment.cluster`` of every cluster, in promotion order.
    """
    fleet = yaml.safe_load(TEMPLATE.read_text())
    for _, cluster in _clusters(fleet):
        policy = cluster.setdefault("policy", {})
        if "intake" in policy:
            policy["intake"]["http"]["url"] = endpoint
        found = directory / cluster["name"] / "etcd.json"
        if found.exists():
            endpoints = json.loads(found.read_text())
            etcd = {name: {"endpoints": addresses} for name, addresses in endpoints.items()}
            policy["control_plane"] = {"etcd": etcd}
    file.write_text(HEAD + yaml.safe_dump(fleet, sort_keys=False, width=120))
    return tuple(f"{environment}.{cluster['name']}" for environment, cluster in _clusters(fleet))


def _clusters(fleet: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(one["name"], cluster) for one in fleet["environments"] for cluster in one["clusters"]]
