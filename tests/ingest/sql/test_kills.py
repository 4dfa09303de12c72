"""A load that is killed, wherever that is, leaves each row once; the next load brings what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.sql.conftest import Database

pytestmark = pytest.mark.servers
CHANGES = {"key": ["id"], "load": {"type": "incremental", "cursor": "changed", "deletes": "compare"}}
SNAPSHOT = {"key": ["id"], "split": {"column": "id", "ranges": 3}}


def killed(database: Database, table: dict[str, Any], folder: Path, step: int) -> bool:
    """Load in a process of its own that ends at this step. Whether it lived."""
    (folder / "source.json").write_text(database.source(table).model_dump_json(by_alias=True))
    command = [
        sys.executable,
        "-m",
        "tests.ingest.sql.killed",
        str(folder / "source.json"),
        database.lake.root,
        str(step),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("table", [CHANGES, SNAPSHOT], ids=["incremental", "snapshot"])
def test_a_load_killed_at_any_step_leaves_each_row_once(
    database: Database, tmp_path: Path, table: dict[str, Any]
):
    database.run(
        "create table TABLE (id int primary key, name varchar(20), changed int)",
        "insert into TABLE values " + ", ".join(f"({n}, 'n{n}', {n})" for n in range(1, 301)),
    )
    database.load(table)
    step, kills = 1, 0
    while True:
        database.run(
            f"update TABLE set name = 'at {step}', changed = 1000 + {step} where id = 7",
            f"insert into TABLE values ({1000 + step}, 'new', {1000 + step})",
            f"delete from TABLE where id = {20 + step}",
        )
        before = database.bronze()
        lived = killed(database, table, tmp_path, step)
        shown = [(r["id"], r["name"]) for r in database.bronze()]
        wanted = database.rows("select id, name from TABLE order by id")
        assert shown in ([(r["id"], r["name"]) for r in before], wanted), f"killed at step {step}"
        database.load(table)
        assert [(r["id"], r["name"]) for r in database.bronze()] == wanted, f"killed at step {step}"
        if lived:
            break
        kills += 1
        step += 1 if step < 3 else 3
    assert kills >= 5
