"""How a table of a database enters Bronze: snapshots, windows, a cursor; what changed, what was deleted; in ranges."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from asgard_assets.errors import ConfigError, FencedError, SourceError
from asgard_assets.ingest.sql.errors import AwayError, StatementTimeoutError
from asgard_assets.ingest.sql.load import commit, load
from asgard_assets.ingest.sql.preview import preview
from asgard_assets.windows import Calendar
from tests.ingest.sql.conftest import NOW, TODAY, Database

pytestmark = pytest.mark.servers
CHANGES = {"type": "incremental", "cursor": "changed"}


def orders(database: Database, rows: int = 3) -> None:
    database.run("create table TABLE (id int primary key, name varchar(20), changed int)")
    for start in range(1, rows + 1, 500):
        values = ", ".join(f"({n}, 'n{n}', {n})" for n in range(start, min(start + 500, rows + 1)))
        database.run(f"insert into TABLE values {values}")


def test_a_snapshot_replaces_the_window(database: Database):
    orders(database)
    database.load()
    database.run("delete from TABLE where id = 2", "insert into TABLE values (4, 'n4', 4)")
    loaded = database.load()
    assert [(row["id"], row["name"], row["ds"]) for row in database.bronze()] == [
        (1, "n1", TODAY), (3, "n3", TODAY), (4, "n4", TODAY)
    ]  # fmt: skip
    assert loaded.figures.rows == 3


def test_a_snapshot_of_another_window_is_refused(database: Database):
    orders(database)
    with pytest.raises(ConfigError, match="only 2026-10-05 can be asked for"):
        database.load(days=["2026-10-04"])


@pytest.mark.parametrize("kind", ["date", "timestamp"])
def test_windows_hold_the_rows_of_their_time(database: Database, kind: str):
    native = "datetime(6)" if kind == "timestamp" and database.kind == "mariadb" else kind
    database.run(f"create table TABLE (id int primary key, at {native})")
    database.run(
        "insert into TABLE values (1, '2026-10-03'), (2, '2026-10-04'), (3, '2026-10-05'), (4, null)",
    )
    table = {"key": ["id"], "load": {"type": "windows", "column": "at"}}
    database.load(table, ["2026-10-03", "2026-10-04"])
    assert [(row["id"], row["ds"]) for row in database.bronze()] == [(1, "2026-10-03"), (2, "2026-10-04")]
    database.run("delete from TABLE where id = 1")
    database.load(table, ["2026-10-03"])
    assert [row["id"] for row in database.bronze()] == [2]


@pytest.mark.parametrize("how", ["windows", "snapshot"])
def test_a_second_column_cuts_the_table_and_each_value_is_read_by_itself(database: Database, how: str):
    database.run(
        "create table TABLE (id int primary key, region varchar(10), sold_at date)",
        f"insert into TABLE values (1, 'eu', '{TODAY}'), (2, 'us', '{TODAY}'), (3, 'eu', '{TODAY}'), (4, 'mars', '{TODAY}')",
    )
    told = {"key": ["id"], "load": {"type": how} | ({"column": "sold_at"} if how == "windows" else {})}
    slices, given = [f"{TODAY}|eu", f"{TODAY}|us"], {"partitions": {"region": ["eu", "us"]}}
    database.load(told, slices, **given)
    assert [(row["id"], row["region"], row["ds"]) for row in database.bronze()] == [
        (1, "eu", TODAY),
        (2, "us", TODAY),
        (3, "eu", TODAY),
    ]
    database.run("delete from TABLE where id in (1, 2)", "alter table TABLE add column amount int")
    database.load(told, slices[:1], **given)
    assert [(row["id"], row["region"]) for row in database.bronze()] == [(2, "us"), (3, "eu")], (
        "us was not read again"
    )
    assert database.lake.epochs("bronze", "t", slices) == {slices[0]: 2, slices[1]: 1}
    with database.lake.connect() as connection:
        assert connection.execute(
            "select region, count(amount), count(*) from bronze.t group by 1 order by 1"
        ).fetchall() == [("eu", 0, 1), ("us", 0, 1)]


def test_a_second_column_must_be_there_and_a_cursor_knows_none(database: Database):
    database.run("create table TABLE (id int primary key, region int)")
    for column, why in (("area", "area of text; it is not there"), ("region", "region of text; it is int")):
        with pytest.raises(ConfigError, match=why):
            database.load({"key": ["id"]}, [f"{TODAY}|eu"], partitions={column: ["eu"]})
    with pytest.raises(ValueError, match="goes on from one cursor"):
        database.source(
            {"key": ["id"], "load": {"type": "incremental", "cursor": "id"}}, partitions={"region": ["eu"]}
        )


def test_a_cursor_brings_what_changed_and_one_row_a_key(database: Database):
    orders(database)
    table = {"key": ["id"], "load": CHANGES}
    assert database.load(table).figures.rows == 3
    database.run(
        "update TABLE set name = 'new', changed = 4 where id = 1", "insert into TABLE values (9, 'nine', 4)"
    )
    second = database.load(table)
    assert second.figures.rows == 3  # the two, and the one that has the cursor's own value
    assert second.replaced and (second.replaced.unchanged, second.replaced.updated) == (1, 1)
    assert [(row["id"], row["name"]) for row in database.bronze()] == [
        (1, "new"),
        (2, "n2"),
        (3, "n3"),
        (9, "nine"),
    ]
    assert database.load(table).replaced.unchanged == 2  # pyright: ignore[reportOptionalMemberAccess]


def test_rows_that_share_the_cursors_value_and_late_ones_are_not_lost(database: Database):
    orders(database)
    table = {"key": ["id"], "load": CHANGES}
    database.load(table)
    database.run("insert into TABLE values (4, 'same', 3), (5, 'late', 1), (6, 'none', null)")
    database.load(table)
    assert [row["id"] for row in database.bronze()] == [1, 2, 3, 4, 6]
    database.load(table | {"load": CHANGES | {"overlap": 2}})
    assert [row["id"] for row in database.bronze()] == [1, 2, 3, 4, 5, 6]


def test_a_cursor_is_compared_by_its_type(database: Database):
    database.run(
        "create table TABLE (id int primary key, changed decimal(20,2))", "insert into TABLE values (1, 9)"
    )
    table = {"key": ["id"], "load": CHANGES}
    database.load(table)
    database.run("insert into TABLE values (2, 10)")
    database.load(table)
    database.run("insert into TABLE values (3, 9.5), (4, 100)")
    database.load(table)
    assert [row["id"] for row in database.bronze()] == [1, 2, 4]


def test_a_time_from_the_future_does_not_move_the_cursor(database: Database):
    native = "timestamptz" if database.kind == "postgres" else "datetime(6)"
    database.run(
        f"create table TABLE (id int primary key, changed {native})",
        "insert into TABLE values (1, '2026-01-01 10:00:00'), (2, '2999-01-01 00:00:00')",
    )
    table = {"key": ["id"], "load": CHANGES | {"overlap": "10 minutes"}}
    database.load(table)
    database.run(
        "insert into TABLE values (3, '2026-01-01 09:55:00'), (4, '2026-01-01 09:40:00'), (5, '2026-02-01')"
    )
    database.load(table)
    assert [row["id"] for row in database.bronze()] == [1, 2, 3, 5]


def test_a_text_cursor_is_compared_by_its_bytes(database: Database):
    database.run(
        "create table TABLE (id int primary key, changed varchar(20))", "insert into TABLE values (1, 'Z')"
    )
    table = {"key": ["id"], "load": CHANGES}
    database.load(table)
    database.run("insert into TABLE values (2, 'a'), (3, 'A')")
    database.load(table)
    assert [row["id"] for row in database.bronze()] == [1, 2]


def test_deletes_are_found_by_comparison(database: Database):
    orders(database, 4)
    table = {"key": ["id"], "load": CHANGES | {"deletes": "compare"}}
    database.load(table)
    database.run("delete from TABLE where id in (1, 3)")
    loaded = database.load(table)
    assert loaded.replaced and loaded.replaced.deleted == 2
    assert [row["id"] for row in database.bronze()] == [2, 4]


def test_everything_again_changes_nothing(database: Database):
    orders(database)
    table = {"key": ["id"], "load": CHANGES}
    database.load(table)
    before = database.bronze()
    loaded = database.load(table, full=True)
    assert loaded.figures.rows == 3 and loaded.replaced and loaded.replaced.unchanged == 3
    assert database.bronze() == before


def test_another_load_that_was_first_is_not_overwritten(database: Database):
    orders(database)
    table = {"key": ["id"], "load": CHANGES}
    source = database.source(table)
    slow = load(database.lake, source, source.tables[0], [TODAY], Calendar(), clock=lambda: NOW)
    database.load(table)
    with pytest.raises(FencedError):
        commit(database.lake, slow, [TODAY])
    assert [row["id"] for row in database.bronze()] == [1, 2, 3]


def test_chosen_columns_and_a_query_of_ones_own(database: Database):
    orders(database)
    database.load({"columns": ["id", "changed"]})
    assert {*database.bronze()[0]} == {"id", "changed", "_row", "_rescued_data", "_ingested_at", "ds"}
    query = f"select id, name as who from {database.name} where id > 1 -- mine;"
    database.load({"table": None, "query": query, "schema_mode": "none", "key": ["id"]}, prefix="x_")
    assert [row["id"] for row in database.bronze()] == [2, 3]


def test_a_query_may_only_read(database: Database):
    orders(database)
    function = f"f_{database.name}"
    if database.kind == "postgres":
        database.run(
            f"create function {function}() returns int language sql as 'delete from TABLE returning 1'"
        )
    else:
        database.run(
            f"create function {function}() returns int modifies sql data begin delete from TABLE; return 1; end",
            f"grant execute on function shop.{function} to reader@'127.0.0.1'",
        )
    with pytest.raises((ConfigError, SourceError)):
        database.load({"table": None, "query": f"select {function}() as id", "name": "t"})
    assert len(database.rows("select * from TABLE")) == 3


def test_a_column_that_is_not_there_is_named(database: Database):
    orders(database)
    with pytest.raises(ConfigError, match=r"no column nope.*id, name, changed"):
        database.load({"exclude": ["nope"]})
    with pytest.raises(ConfigError):
        database.load({"table": "nothing_like_it"})


def test_new_columns_go_as_the_mode_says(database: Database):
    orders(database, 1)
    database.load({"key": ["id"]})
    database.run("alter table TABLE add column extra varchar(9) default 'a,\"b'")
    database.load({"key": ["id"], "schema_mode": "none"})
    assert "extra" not in database.bronze()[0]
    database.load({"key": ["id"], "schema_mode": "rescue"})
    assert database.bronze()[0]["_rescued_data"] == '{"extra": "a,\\"b"}'
    with pytest.raises(SourceError, match="extra"):
        database.load({"key": ["id"], "schema_mode": "failOnNewColumns"})
    loaded = database.load({"key": ["id"]})
    assert database.bronze()[0]["extra"] == 'a,"b' and [c.kind for c in loaded.changes] == ["NEW_COLUMN"]


def test_types_widen_removed_columns_stay_and_others_are_rescued(database: Database):
    orders(database, 1)
    database.load({"key": ["id"], "load": CHANGES})
    database.run("alter table TABLE drop column name")
    if database.kind == "postgres":
        database.run("alter table TABLE alter column changed type bigint")
    else:
        database.run("alter table TABLE modify changed bigint")
    database.run("insert into TABLE values (2, 3000000000)")
    loaded = database.load({"key": ["id"], "load": CHANGES})
    assert {(c.kind, c.column) for c in loaded.changes} == {
        ("TYPE_CHANGE", "changed"),
        ("REMOVED_COLUMN", "name"),
    }
    assert [(r["name"], r["changed"]) for r in database.bronze()] == [(None, 1), (None, 3000000000)]


def test_a_column_of_quite_another_type_is_rescued(database: Database):
    orders(database, 1)
    database.load({"key": ["id"]})
    if database.kind == "postgres":
        database.run("alter table TABLE alter column changed type date using '2026-01-02'")
    else:
        database.run(
            "alter table TABLE drop column changed",
            "alter table TABLE add column changed date default '2026-01-02'",
        )
    loaded = database.load({"key": ["id"]})
    (row,) = database.bronze()
    assert row["changed"] is None and row["_rescued_data"] == '{"changed": "2026-01-02"}'
    assert [(c.kind, c.column) for c in loaded.changes] == [("TYPE_CHANGE", "changed")]


def test_ranges_see_one_state_of_the_table(database: Database):
    orders(database, 2000)
    stop = threading.Event()

    def move() -> None:
        """Moves rows from one end of the table to the other, so that two states would lose or double some."""
        connection = database.connect()
        with connection.cursor() as cursor:
            for n in range(1, 2001):
                if stop.is_set():
                    break
                cursor.execute(f"update {database.name} set id = {10_000 - n} where id = {n}")
        connection.close()

    mover = threading.Thread(target=move)
    mover.start()
    try:
        loaded = database.load(
            {"key": ["name"], "split": {"column": "id", "ranges": 7}}, connections=3, chunk_mb=1
        )
    finally:
        stop.set()
        mover.join()
    assert sorted(row["name"] for row in database.bronze("name")) == sorted(f"n{n}" for n in range(1, 2001))
    assert loaded.figures.rows == 2000 and not loaded.notes


def test_a_table_that_cannot_be_locked_is_read_by_one_connection(on_mariadb: Database):
    orders(on_mariadb, 100)
    query = f"select * from {on_mariadb.name}"
    loaded = on_mariadb.load(
        {"table": None, "query": query, "split": {"column": "id", "ranges": 4}}, connections=3
    )
    assert loaded.figures.rows == 100 and "one connection" in loaded.notes[0]


def test_a_split_needs_an_integer(database: Database):
    orders(database)
    with pytest.raises(ConfigError, match="integer"):
        database.load({"split": {"column": "name"}}, connections=2)


def test_a_statement_that_takes_too_long_is_ended_by_the_server(database: Database):
    sleep = "pg_sleep(30)" if database.kind == "postgres" else "sleep(30)"
    with pytest.raises(StatementTimeoutError, match="statement_timeout_seconds"):
        database.load(
            {"table": None, "query": f"select cast({sleep} as char(9)) as id"}, statement_timeout_seconds=0.2
        )


def test_a_server_that_is_away_may_be_tried_again(database: Database):
    source = database.source()
    away = source.model_copy(update={"database": source.database.model_copy(update={"port": 1})})
    with pytest.raises(AwayError):
        load(database.lake, away, away.tables[0], [TODAY], Calendar(), clock=lambda: NOW)


def test_a_preview_writes_nothing(database: Database):
    orders(database)
    source = database.source({"key": ["id"]})
    found = preview(database.lake, source, source.tables[0], 2)
    assert [row["id"] for row in found.rows.to_pylist()] == [1, 2] and database.lake.table(
        "bronze", "t"
    ) is None


def test_days_of_a_zone_begin_there(on_postgres: Database):
    on_postgres.run("create table TABLE (id int, at timestamptz)")
    on_postgres.run("insert into TABLE values (1, '2026-10-03 21:59:00+00'), (2, '2026-10-03 22:00:00+00')")
    source = on_postgres.source({"key": ["id"], "load": {"type": "windows", "column": "at"}})
    calendar = Calendar.named("Europe/Berlin")
    loaded = load(on_postgres.lake, source, source.tables[0], ["2026-10-04"], calendar, clock=lambda: NOW)
    commit(on_postgres.lake, loaded, ["2026-10-04"])
    assert [row["id"] for row in on_postgres.bronze()] == [2]
    assert on_postgres.bronze()[0]["at"] == datetime(2026, 10, 3, 22, tzinfo=UTC)
