"""Where the fleet file is, and the little a DAG file needs of it; imports nothing dear."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

VARIABLE = "NODE_ROTATION_FLEET"


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
    file = path()
    try:
        data = yaml.safe_load(file.read_text())
        return tuple(f"{env['name']}.{c['name']}" for env in data["environments"] for c in env["clusters"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no fleet file ({error!r}). Write one, or name it in ${VARIABLE}.") from error
