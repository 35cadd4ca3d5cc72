"""Where the fleet file is, and the little a DAG file needs of it; imports nothing dear."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from node_rotation_airflow.nights import Night, night_of

VARIABLE = "NODE_ROTATION_FLEET"
FASTEST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast; every task parses its DAG file
LOADER: Any = type("Loader", (FASTEST,), {"__doc__": "Leaves dates as text: PyYAML fails at one that does not exist."})
LOADER.add_constructor("tag:yaml.org,2002:timestamp", LOADER.construct_yaml_str)


def path() -> Path:
    """``$NODE_ROTATION_FLEET``, or ``config/fleet.yaml`` beside the DAGs folder."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    from airflow.sdk.configuration import conf

    return Path(conf.get("core", "dags_folder")).parent / "config" / "fleet.yaml"


def cluster_names() -> tuple[str, ...]:
    """Every ``environment.cluster`` in promotion order; what is wrong with the file is said by the first task.

    :raises ValueError: if there is not even a list of environments.
    """
    return tuple(f"{environment['name']}.{cluster['name']}" for environment, cluster in _clusters())


def night() -> Night:
    """When the nightly check runs.

    :raises ValueError: as :func:`cluster_names`.
    """
    return night_of(_document())


def runs_at_once() -> int:
    """How many rotations Airflow keeps under way: most of them wait, for windows, promotion or their turn.

    Two per cluster: one that waits for weeks must not keep a newer one, nor the cluster it waits for, from beginning.
    """
    return max(8, 2 * len(cluster_names()))


def group_names() -> dict[str, tuple[str, ...]]:
    """Every node group's name → the clusters that have one of that name, in the file's order.

    :raises ValueError: as :func:`cluster_names`.
    """
    found: dict[str, tuple[str, ...]] = {}
    for environment, cluster in _clusters():
        for group in cluster.get("groups") or ():
            if isinstance(group, dict) and isinstance(group.get("name"), str):
                place = f"{environment['name']}.{cluster['name']}"
                found[group["name"]] = (*found.get(group["name"], ()), place)
    return found


def _clusters() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    data, file = _document(), path()
    try:
        found = [(env, cluster) for env in data["environments"] for cluster in env["clusters"]]
        if all(env["name"] and cluster["name"] for env, cluster in found):
            return found
        raise KeyError("name")
    except (KeyError, TypeError) as error:
        raise _none(file, error) from error


def _document() -> Any:
    file = path()
    try:
        return yaml.load(file.read_text(), Loader=LOADER)
    except (OSError, yaml.YAMLError) as error:
        raise _none(file, error) from error


def _none(file: Path, error: Exception) -> ValueError:
    return ValueError(f"{file} is no fleet file ({error!r}). Write one, or name it in ${VARIABLE}.")
