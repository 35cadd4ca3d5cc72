"""What a run did, as files: JSON, and one page for people."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node_rotation_airflow.constants import VERDICT_KEY
from node_rotation_airflow.operators.base import RotationOperator, rotation_of

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

VARIABLE = "NODE_ROTATION_REPORTS"


class ReportOperator(RotationOperator):
    """Writes below ``$NODE_ROTATION_REPORTS``, or ``out/`` beside the DAGs folder; returns the path."""

    def work(self, context: Context) -> str:
        """Write."""
        ti: Any = context["ti"]
        rotation = rotation_of(context)
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
        report = {
            "schema_version": 1,
            "run_id": ti.run_id,
            "plan": rotation.plan.model_dump(mode="json") if rotation else None,
            "verdict": ti.xcom_pull(task_ids="verify", key=VERDICT_KEY),
            "tasks": dict(sorted(states.items())),
        }
        folder = reports_folder()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{_file_name(ti.run_id)}.json"
        file.write_text(json.dumps(report, indent=1))
        self.log.info("report: %s", file)
        return str(file)


def reports_folder() -> Path:
    """Where reports go."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    from airflow.sdk.configuration import conf

    return Path(conf.get("core", "dags_folder")).parent / "out" / "runs"


def _file_name(run_id: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.~" else "_" for c in run_id)
