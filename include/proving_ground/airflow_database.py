"""The SQLite database of the proving ground's Airflow: migrated once per Airflow version, then copied."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

_LAYOUT = 2  # part of the template's name: what is done to it after migrating


def bring(target: Path) -> None:
    """Put a migrated, empty database there, unless there is one."""
    if not target.exists():
        shutil.copy(template(), target)


def template() -> Path:
    """A migrated, empty database; made if this version of Airflow has none here yet, which takes some seconds."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "node-rotation"
    found = root / f"airflow-{version('apache-airflow-core')}-{_LAYOUT}.db"
    if not found.exists():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as home:
            made = Path(home) / "airflow.db"
            _migrate(made)
            never_reuse_trigger_ids(made)
            made.replace(found)
    return found


def _migrate(database: Path) -> None:
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    settings = {
        "AIRFLOW_HOME": str(database.parent),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
    }
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, env=theirs | settings, check=True, capture_output=True)


def never_reuse_trigger_ids(database: Path) -> None:
    """Give the table of triggers ids that are never used twice, as every other database does.

    SQLite gives the id of a deleted last row away again. The triggerer knows triggers by id: a new one with the id
    of one that has just ended is taken for that one, never starts, and its task waits for ever.
    """
    with closing(sqlite3.connect(database)) as connection:
        (made_by,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'trigger'").fetchone()
        counting = made_by.replace("id INTEGER NOT NULL", "id INTEGER PRIMARY KEY AUTOINCREMENT", 1)
        counting = re.sub(r"\s*CONSTRAINT trigger_pkey PRIMARY KEY \(id\),", "", counting)
        connection.executescript(f'PRAGMA foreign_keys = OFF; DROP TABLE "trigger"; {counting};')
