"""The SQLite database of the proving ground's Airflow: migrated once per Airflow version, then copied."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

_LAYOUT = 2  # part of the template's name: what is done to it after migrating


def bring(target: Path, env: Mapping[str, str]) -> None:
    """Put a migrated, empty database there, unless there is one.

    :param env: the environment of the Airflow it is for; its settings name ``target``.
    """
    if target.exists():
        return
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "node-rotation"
    template = root / f"airflow-{version('apache-airflow-core')}-{_LAYOUT}.db"
    if not template.exists():
        subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"], env=dict(env), check=True, capture_output=True
        )
        never_reuse_trigger_ids(target)
        root.mkdir(parents=True, exist_ok=True)
        part = template.with_suffix(f".{os.getpid()}")
        shutil.copy(target, part)
        part.replace(template)
        return
    shutil.copy(template, target)


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
