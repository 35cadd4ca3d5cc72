"""Where no Airflow is, or none that can tell, nobody knows whether a connection is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from node_rotation.checkup.rights import Answer
from node_rotation.clients import airflow_connections


@pytest.mark.parametrize("script", [None, "#!/bin/sh\necho boom >&2\nexit 2\n", "no program at all"])
def test_nobody_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    if script:
        (tmp_path / "airflow").write_text(script)
        (tmp_path / "airflow").chmod(0o755)
    assert airflow_connections.knows("chat") is Answer.UNKNOWN


def test_one_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(airflow_connections, "PATIENCE_S", 0.2)
    (tmp_path / "airflow").write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    (tmp_path / "airflow").chmod(0o755)
    assert airflow_connections.knows("chat") is Answer.UNKNOWN
