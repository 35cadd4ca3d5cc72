"""What an SRE sees of a rotation while it goes on."""

from __future__ import annotations

import re

from node_rotation_airflow.web.board import Task, board, note

RUN = "manual__2026-11-27T01:00:00+00:00"
DONE = [Task("request", -1, "success"), Task("detect", 0, "success", "workers"), Task("wait", -1, "deferred")]
ADMITTED = [Task("batch.admit", i, "success", f"workers/{i + 1}") for i in range(2)]
DRAINS = [Task("batch.drain", 0, "deferred", "workers/1"), Task("batch.drain", 1, "failed", "workers/2")]


def cells(page: str) -> dict[str, list[str]]:
    rows = re.findall(r"<tr><th>(.*?)</th>(.*?)</tr>", page)
    return {name: [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] for name, row in rows[1:]}


def test_each_batch_is_a_row_by_its_name_with_the_state_of_each_step() -> None:
    page = board(RUN, [*DONE, *ADMITTED, *DRAINS], goes_on=True)

    assert cells(page) == {
        "workers/1": ["done", "", "", "waits", "", "", ""],
        "workers/2": ["done", "", "", "failed", "", "", ""],
    }


def test_what_waits_leads_to_the_log_that_says_on_what() -> None:
    page = board(RUN, [*DONE, *ADMITTED, *DRAINS], goes_on=True)

    run = "manual__2026-11-27T01%3A00%3A00%2B00%3A00"
    assert f'href="/dags/rotate_nodes/runs/{run}/tasks/batch.drain/mapped/0">waits<' in page
    assert f'wait <a target="_top" href="/dags/rotate_nodes/runs/{run}/tasks/wait">waits<' in page
    assert "detect" not in page, "what is done and no batch's is no news"


def test_links_stay_below_the_path_that_airflow_is_served_at() -> None:
    page = board(RUN, [*DONE, *ADMITTED, *DRAINS], goes_on=True, root="/airflow")

    links = re.findall('href="(.*?)"', page)
    assert len(links) == 5
    assert all(link.startswith("/airflow/dags/rotate_nodes/runs/") for link in links), links


def test_it_reloads_itself_only_while_the_run_goes_on() -> None:
    assert 'http-equiv="refresh"' in board(RUN, DONE, goes_on=True)
    ended = board(RUN, DONE, goes_on=False)
    assert 'http-equiv="refresh"' not in ended
    assert "There is no report of this run" in ended


def test_names_are_text_and_never_markup() -> None:
    assert "<b>" not in board(RUN, [Task("batch.admit", 0, "running", "<b>/1")], goes_on=True)
    assert "<b>" not in note("no run <b>")
