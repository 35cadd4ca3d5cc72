"""Who may see the tab of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.api_fastapi.app import create_auth_manager, purge_cached_app
from fastapi.testclient import TestClient

from node_rotation_airflow.web.app import app, root


@pytest.fixture
def with_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An Airflow in which not everybody is its administrator, as any but a demo's."""
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "False")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(tmp_path / "passwords.json"))
    monkeypatch.setenv(
        "AIRFLOW__API_AUTH__JWT_SECRET", "a test's own secret, long enough for HS512, and that is sixty-four"
    )
    create_auth_manager().init()
    yield
    purge_cached_app()


@pytest.mark.usefixtures("with_logins")
def test_who_has_not_logged_in_sees_no_run() -> None:
    asked = {"dag_id": "rotate_nodes", "run_id": "manual__1"}
    anonymous = TestClient(app)

    assert anonymous.get("/run", params=asked).status_code == 401
    assert anonymous.get("/run", params=asked, headers={"Authorization": "Bearer forged"}).status_code in (401, 403)


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("", ""),
        ("https://airflow.example", ""),
        ("https://airflow.example/", ""),
        ("https://tools.example/airflow", "/airflow"),
        ("https://tools.example/team/airflow/", "/team/airflow"),
    ],
)
def test_links_begin_with_the_path_of_airflow_s_own_address(
    base_url: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    assert root() == path
