"""Where the reports of runs are: written by the report task, read by the API server."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "NODE_ROTATION_REPORTS"


def folder() -> Path:
    """Below ``$NODE_ROTATION_REPORTS``, or ``out/runs`` beside the DAGs folder."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    from airflow.sdk.configuration import conf

    return Path(conf.get("core", "dags_folder")).parent / "out" / "runs"


def page_of(run_id: str) -> Path:
    """The page of a run's report, whether it is there yet or not; its JSON lies beside it.

    :param run_id: its characters that a file name may not have become ``_``.
    """
    name = "".join(c if c.isalnum() or c in "-_.~" else "_" for c in run_id)
    return folder() / f"{name}.html"
