"""On SQLite, too, a trigger's id is never given to another."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from proving_ground.airflow_database import never_reuse_trigger_ids

AS_AIRFLOW_MAKES_IT = """
CREATE TABLE "trigger" (
    id INTEGER NOT NULL,
    classpath VARCHAR(1000) NOT NULL,
    CONSTRAINT trigger_pkey PRIMARY KEY (id),
    CONSTRAINT some_key FOREIGN KEY(classpath) REFERENCES team (name)
)
"""


def the_id_after_deleting_the_last(database: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(database)) as connection:
        first = connection.execute("INSERT INTO trigger (classpath) VALUES ('a')").lastrowid
        connection.execute("DELETE FROM trigger")
        second = connection.execute("INSERT INTO trigger (classpath) VALUES ('b')").lastrowid
        assert first is not None
        assert second is not None
        return first, second


def test_without_the_change_an_id_comes_back(tmp_path: Path) -> None:
    database = tmp_path / "airflow.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(AS_AIRFLOW_MAKES_IT)

    assert the_id_after_deleting_the_last(database) == (1, 1)


def test_with_it_it_does_not(tmp_path: Path) -> None:
    database = tmp_path / "airflow.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(AS_AIRFLOW_MAKES_IT)

    never_reuse_trigger_ids(database)

    assert the_id_after_deleting_the_last(database) == (1, 2)
