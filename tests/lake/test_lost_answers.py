"""A commit that is in the log is a success, whatever the store said of it; one that is not there is a failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from asgard_assets.errors import FencedError, UnknownCommitError
from asgard_assets.lake import Lake, Staging
from tests.servers.s3 import s3
from tests.servers.s3_faults import faulty

SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
WIDE = pa.schema([("id", pa.float64()), ("ds", pa.string())])
DAY, OTHER = "2026-10-05", "2026-10-06"
ERRORS = [CommitFailedError("answer lost"), OSError("connection reset")]
Operation = Callable[[Lake, Staging], int]


def staged(lake: Lake, number: int, day: str = DAY, **columns: list[str]) -> Staging:
    rows = pa.table({"id": [number], "ds": [day]} | columns).cast(
        pa.schema([*SCHEMA, *((name, pa.string()) for name in columns)])
    )
    staging = lake.stage("bronze", "orders", rows.schema, [day])
    lake.write(staging, rows)
    return staging


def ids(lake: Lake) -> list[int]:
    table = lake.table("bronze", "orders")
    assert table is not None
    return sorted(table.to_pyarrow_table()["id"].to_pylist())


def publish(lake: Lake, staging: Staging) -> int:
    return lake.publish(staging, plans={f"src/{DAY}": 2}).version


def amend(lake: Lake, staging: Staging) -> int:
    return lake.amend(staging, lambda live: {part.path: [] for part in live}, {f"src/{DAY}": (1, 2)}).version


def retype(lake: Lake, staging: Staging) -> int:
    return lake.retype(
        "bronze", "orders", lambda schema: WIDE, lambda rows, schema: rows.cast(_inner(schema))
    )


def _inner(schema: pa.Schema) -> pa.Schema:
    return schema.remove(schema.get_field_index("ds"))


def first_answer_is(
    monkeypatch: pytest.MonkeyPatch, error: Exception, landed: bool = True, then: Callable[[], object] = int
) -> None:
    """The next commit is answered with `error`, after it `landed`, and after `then` was done."""
    commit = DeltaTable.create_write_transaction

    def write(self, *arguments, **options):
        monkeypatch.undo()
        if landed:
            commit(self, *arguments, **options)
        then()
        raise error

    monkeypatch.setattr(DeltaTable, "create_write_transaction", write)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("operation", "left"), [(publish, [2]), (amend, [2]), (retype, [1.0])], ids=["publish", "amend", "retype"]
)
def test_a_commit_whose_answer_was_lost_is_a_success(
    lake: Lake, monkeypatch, operation: Operation, left: list[float], error: Exception
):
    before = lake.publish(staged(lake, 1), plans={f"src/{DAY}": 1}).version
    mine = staged(lake, 2)
    first_answer_is(monkeypatch, error)
    assert operation(lake, mine) == before + 1 == lake.version("bronze", "orders")
    assert ids(lake) == left


@pytest.mark.parametrize("operation", [publish, amend])
def test_many_commits_after_it_do_not_hide_it(lake: Lake, monkeypatch, operation: Operation):
    lake.publish(staged(lake, 1), plans={f"src/{DAY}": 1})
    mine = staged(lake, 2)

    def others():
        for number in range(25):
            lake.publish(staged(lake, 100 + number, OTHER))
        lake.publish(staged(lake, 3))  # the successor of the same day

    first_answer_is(monkeypatch, OSError("connection reset"), then=others)
    assert operation(lake, mine) == 2
    assert ids(lake) == [3, 124]


@pytest.mark.parametrize("operation", [publish, amend])
def test_a_pruned_log_does_not_hide_it(lake: Lake, monkeypatch, operation: Operation):
    lake.publish(staged(lake, 1), plans={f"src/{DAY}": 1})
    mine = staged(lake, 2)
    first_answer_is(monkeypatch, OSError("connection reset"), then=lambda: prune(lake))
    operation(lake, mine)
    assert ids(lake) == [2, 100]


def prune(lake: Lake, successor: bool = False) -> None:
    """A rival commits, and a checkpoint takes the place of the log before it."""
    lake.publish(staged(lake, 100, OTHER))
    if successor:
        lake.publish(staged(lake, 3))
    table = lake.table("bronze", "orders")
    assert table is not None
    table.create_checkpoint()
    for entry in Path(lake.path("bronze", "orders"), "_delta_log").glob("*.json"):
        if int(entry.stem) < table.version():
            entry.unlink()


def test_what_a_pruned_log_cannot_tell_is_said_and_nothing_is_removed(lake: Lake, monkeypatch):
    lake.publish(staged(lake, 1), plans={f"src/{DAY}": 1})
    mine = staged(lake, 2)
    first_answer_is(monkeypatch, OSError("connection reset"), then=lambda: prune(lake, successor=True))
    with pytest.raises(UnknownCommitError, match="bronze/orders: the answer to a commit was lost"):
        publish(lake, mine)
    assert ids(lake) == [3, 100]
    assert lake.staged_files(mine)[DAY]


@pytest.mark.parametrize("operation", [publish, amend, retype])
def test_what_never_landed_fails_with_the_stores_own_error(lake: Lake, monkeypatch, operation: Operation):
    lake.publish(staged(lake, 1), plans={f"src/{DAY}": 1})
    mine = staged(lake, 2)
    first_answer_is(monkeypatch, OSError("connection reset"), landed=False)
    with pytest.raises(OSError, match="connection reset"):
        operation(lake, mine)
    assert ids(lake) == [1]


@pytest.mark.parametrize("operation", [publish, amend])
def test_a_rival_that_came_first_is_still_named(lake: Lake, monkeypatch, operation: Operation):
    lake.publish(staged(lake, 1), plans={f"src/{DAY}": 1})
    mine, rival = staged(lake, 2), staged(lake, 3)
    lost = CommitFailedError("conflict")
    first_answer_is(
        monkeypatch, lost, landed=False, then=lambda: lake.publish(rival, plans={f"src/{DAY}": 2})
    )
    with pytest.raises(FencedError, match="another run"):
        operation(lake, mine)
    assert ids(lake) == [3]


def test_columns_and_properties_survive_lost_answers_too(lake: Lake, monkeypatch):
    lake.publish(staged(lake, 1), plans={f"src/{DAY}": 1})
    mine = staged(lake, 2, note=["x"])
    first_answer_is(monkeypatch, OSError("connection reset"))  # of the commit that adds the column
    amend(lake, mine)
    assert ids(lake) == [2]


def test_retype_keeps_a_column_that_another_load_adds_meanwhile(lake: Lake, monkeypatch):
    lake.publish(staged(lake, 1))
    rival = staged(lake, 2, OTHER, note=["x"])

    def widened(schema: pa.Schema) -> pa.Schema:
        return pa.schema([WIDE.field("id") if f.name == "id" else f for f in schema])

    def cast(rows: pa.Table, schema: pa.Schema) -> pa.Table:
        lacking = [f for f in _inner(schema) if f.name not in rows.column_names]
        for field in lacking:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
        return rows.select(_inner(schema).names).cast(_inner(schema))

    first_answer_is(
        monkeypatch, CommitFailedError("conflict"), landed=False, then=lambda: lake.publish(rival)
    )
    lake.retype("bronze", "orders", widened, cast)
    with lake.connect() as connection:
        assert connection.sql("select id, note from bronze.orders order by id").fetchall() == [
            (1.0, None),
            (2.0, "x"),
        ]


@pytest.mark.servers
def test_a_store_that_refuses_puts_and_loses_answers_costs_and_doubles_nothing(tmp_path: Path, monkeypatch):
    with s3(tmp_path / "s3", "lake") as server, faulty(server.endpoint, seed=11) as (endpoint, faults):
        for key, value in server.environment.items():
            monkeypatch.setenv(key, value)
        lake = Lake("s3://lake", endpoint)
        for number in range(30):
            plans = {f"src/{DAY}": (number, number + 1)}
            assert lake.amend(staged(lake, number), lambda live: {}, plans).rows == {DAY: 1}
            lake.publish(staged(lake, 1000 + number, OTHER))
            assert ids(lake) == [*range(number + 1), 1000 + number]
        done = faults()
        assert done["refused"] > 3 and done["lost"] > 3, done
