"""What all DAGs of this project share."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from node_rotation_airflow.constants import OWNER, RETRIES, RETRY_DELAY, TAG
from node_rotation_airflow.retry import RotationRetryPolicy

UNPAUSED = "NODE_ROTATION_UNPAUSED"
START = datetime(2026, 1, 1, tzinfo=UTC)


def dag_defaults(doc: str | None) -> dict[str, Any]:
    """Arguments of every DAG; they start paused unless ``$NODE_ROTATION_UNPAUSED`` is 1.

    :param doc: the DAG file's docstring.
    """
    return {
        "start_date": START,
        "catchup": False,
        "is_paused_upon_creation": os.environ.get(UNPAUSED) != "1",
        "tags": [TAG],
        "doc_md": doc,
        "default_args": {
            "owner": OWNER,
            "retries": RETRIES,
            "retry_delay": RETRY_DELAY,
            "retry_policy": RotationRetryPolicy(),
        },
    }
