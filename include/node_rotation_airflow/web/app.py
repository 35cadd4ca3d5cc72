"""The run page's tab "Rotation": the batches while it goes on, then its report."""

# No `from __future__ import annotations`: FastAPI reads the signatures.
from urllib.parse import urlsplit

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.sdk.configuration import conf
from airflow.utils.state import State
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from node_rotation_airflow.constants import ROTATE_NODES
from node_rotation_airflow.report_files import page_of
from node_rotation_airflow.web.board import Task, board, note

PREFIX = "/node-rotation"

app = FastAPI(title="node-rotation", openapi_url=None)


# Airflow does not ask for a login before a plugin's pages by itself.
@app.get("/run", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])
def run_page(dag_id: str, run_id: str, session: SessionDep) -> HTMLResponse:
    """What there is to see of a run.

    :param run_id: as Airflow's UI fills it in: a plus sign has become a space.
    """
    if dag_id != ROTATE_NODES:
        return HTMLResponse(note(f"Only runs of {ROTATE_NODES} have one."))
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id.replace(" ", "+")))
    if run is None:
        return HTMLResponse(note(f"There is no run {run_id} of {ROTATE_NODES} (any more)."), status_code=404)
    goes_on = run.state not in State.finished_dr_states
    page = page_of(run.run_id)
    if not goes_on and page.exists():
        return HTMLResponse(page.read_text())
    found = select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run.run_id)
    tasks = [Task(t.task_id, t.map_index, t.state or "", _label(t)) for t in session.scalars(found)]
    return HTMLResponse(board(run.run_id, tasks, goes_on=goes_on, root=root()))


def root() -> str:
    """The path below which browsers find Airflow: that of ``[api] base_url``."""
    base: str = conf.get("api", "base_url", fallback="")
    return urlsplit(base).path.rstrip("/")


def _label(task: TaskInstance) -> str:
    return (task.rendered_map_index or "") if task.map_index >= 0 else ""
