"""The `delta` materialization: what each option leaves in the lake."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from asgard_assets.lake import Lake
from tests.fakes.dbt_process import dbt, write_project
from tests.fakes.gold import start_dbt
from tests.patience import patience

pytestmark = pytest.mark.servers
DAY1, DAY2, DAY3 = "2026-10-05", "2026-10-06", "2026-10-07"
NUMBERED = "select strftime(d, '%Y-%m-%d') as ds, 1 as n from range(date '{{ var(\"min_date\") }}', date '{{ var(\"max_date\") }}' + 1, interval 1 day) as t(d)"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "la'ke"))


class Shop:
    """A project of one model `m` that changes, run on one lake."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self.lake, self.folder = lake, folder
        write_project(folder, {"models/m.yml": "models: [{name: m}]\n"})

    def run(
        self, sql: str, *args: str, days: tuple[str, str] | None = None, **config: Any
    ) -> tuple[bool, str]:
        given = ", ".join(f"{k}={v!r}" for k, v in {"materialized": "delta", **config}.items())
        (self.folder / "models" / "m.sql").write_text(f"{{{{ config({given}) }}}}\n{sql}\n")
        return dbt(self.lake, self.folder, "build", *args, days=days)

    def built(self, sql: str, *args: str, **options: Any) -> None:
        ok, output = self.run(sql, *args, **options)
        assert ok, output

    def refused(self, sql: str, *args: str, **options: Any) -> str:
        before = self.lake.version("gold", "m")
        ok, output = self.run(sql, *args, **options)
        assert not ok, output
        assert self.lake.version("gold", "m") == before
        return " ".join(output.split())

    def rows(self, columns: str = "*") -> list[tuple[Any, ...]]:
        with self.lake.connect() as connection:
            return connection.execute(f"select {columns} from gold.m order by all").fetchall()

    def columns(self) -> list[str]:
        table = self.lake.table("gold", "m")
        assert table is not None
        return [field.name for field in table.schema().fields]


@pytest.fixture
def shop(lake: Lake, tmp_path: Path) -> Shop:
    return Shop(lake, tmp_path / "shop")


def test_a_whole_table_is_what_its_last_query_gave_columns_and_types_included(shop):
    shop.built("select 1 as a, 'x' as b union all select 2, 'y'")
    shop.built("select 'one' as a, 2.5::decimal(4,1) as c")
    assert shop.columns() == ["a", "c"] and shop.rows("a, c::varchar") == [("one", "2.5")]
    shop.built("select 'none' as a, 2.5::decimal(4,1) as c where false")
    assert shop.rows() == []
    assert len(shop.lake.files("gold", "m")) <= 1


def test_replacing_one_day_of_ninety_leaves_the_files_of_the_other_89(shop):
    window = {"partition_by": "ds"}
    shop.built(NUMBERED, days=("2026-08-01", "2026-10-29"), **window)
    before = set(shop.lake.files("gold", "m"))
    assert len(before) == 90
    shop.built(NUMBERED.replace("1 as n", "2 as n"), days=("2026-10-06", "2026-10-06"), **window)
    after = set(shop.lake.files("gold", "m"))
    assert len(after) == 90 and len(before & after) == 89
    assert shop.rows("sum(n), count(*)") == [(91, 90)]
    # A query that gives nothing empties its day, and no other.
    shop.built(f"select * from ({NUMBERED}) where false", days=("2026-10-07", "2026-10-07"), **window)
    assert shop.rows("sum(n), count(*)") == [(90, 89)]


def test_a_merge_updates_and_adds_by_key_and_keeps_the_rest(shop):
    merge = {"incremental_strategy": "merge", "unique_key": "id"}
    shop.built("select 1 as id, 'a' as v union all select 2, 'b'", **merge)
    shop.built(
        "select 2 as id, 'B' as v union all select 3, 'c' {% if delta_is_incremental() %} union all "
        "select max(id) + 10, 'from this' from {{ this }} {% endif %}",
        **merge,
    )
    assert shop.rows() == [(1, "a"), (2, "B"), (3, "c"), (12, "from this")]
    assert "unique_key (id) is null or occurs twice" in shop.refused(
        "select 3 as id, 'c' as v union all select 3, 'd'", **merge
    )
    shop.built("select 9 as id, 'z' as v", "--full-refresh", **merge)
    assert shop.rows() == [(9, "z")]
    shop.built("select 8 as id, 'y' as v", incremental_strategy="append")
    assert shop.rows() == [(8, "y"), (9, "z")]


def test_a_merge_by_days_touches_only_the_window(shop):
    merge = {"incremental_strategy": "merge", "unique_key": "id", "partition_by": "ds"}
    for day in (DAY1, DAY2):
        shop.built(
            f"select 1 as id, 'old' as v, '{day}' as ds union all select 2, 'old', '{day}'",
            days=(day, day),
            **merge,
        )
    before = set(shop.lake.files("gold", "m", [DAY1]))
    shop.built(f"select 2 as id, 'new' as v, '{DAY2}' as ds", days=(DAY2, DAY2), **merge)
    assert shop.rows("ds, id, v") == [
        (DAY1, 1, "old"), (DAY1, 2, "old"), (DAY2, 1, "old"), (DAY2, 2, "new"),
    ]  # fmt: skip
    assert set(shop.lake.files("gold", "m", [DAY1])) == before


FIRST = f"select 1 as a, 'x' as b, '{DAY1}' as ds"
OTHER = f"select 2 as a, 3.5::double as c, '{DAY2}' as ds"


def changed(shop: Shop, policy: str | None, **more: Any) -> tuple[bool, str]:
    shop.built(FIRST, days=(DAY1, DAY1), partition_by="ds")
    given = {"on_schema_change": policy} if policy else {}
    return shop.run(OTHER, days=(DAY2, DAY2), partition_by="ds", **given, **more)


def test_on_schema_change_ignore_wants_every_column_and_leaves_new_ones_out(shop):
    ok, output = changed(shop, "ignore")
    assert not ok and "b is gone" in output
    shop.built(
        OTHER.replace("3.5", "'y' as b, 3.5"), days=(DAY2, DAY2), partition_by="ds", on_schema_change="ignore"
    )
    assert shop.columns() == ["a", "b", "ds"]
    assert shop.rows() == [(1, "x", DAY1), (2, "y", DAY2)]


def test_on_schema_change_fail_names_what_changed(shop):
    ok, output = changed(shop, "fail")
    assert not ok and "the columns changed: c is new, b is gone. on_schema_change is fail" in " ".join(
        output.split()
    )
    assert shop.rows() == [(1, "x", DAY1)]


@pytest.mark.parametrize("policy", ["append_new_columns", None])
def test_on_schema_change_append_keeps_old_columns_and_adds_new_ones(shop, policy):
    ok, output = changed(shop, policy)
    assert ok, output
    assert shop.rows("a, b, c, ds") == [(1, "x", None, DAY1), (2, None, 3.5, DAY2)]
    refused = shop.refused(OTHER.replace("2 as a", "'2' as a"), days=(DAY2, DAY2), partition_by="ds")
    assert "a is INTEGER in the table and VARCHAR in the query" in refused


def test_on_schema_change_sync_makes_the_columns_those_of_the_query_in_one_commit(shop):
    ok, output = changed(shop, "sync_all_columns")
    assert ok, output
    assert set(shop.columns()) == {"a", "c", "ds"}
    assert shop.rows("a, c, ds") == [(1, None, DAY1), (2, 3.5, DAY2)]
    assert shop.lake.version("gold", "m") == 2
    # A column that comes back does not bring its old values with it.
    shop.built(
        OTHER.replace("3.5", "'y' as b, 3.5"),
        days=(DAY2, DAY2),
        partition_by="ds",
        on_schema_change="sync_all_columns",
    )
    assert shop.rows("a, b, c, ds") == [(1, None, None, DAY1), (2, "y", 3.5, DAY2)]


@pytest.mark.parametrize(
    ("config", "sql", "args", "said"),
    [
        ({"partition_by": "ds"}, FIRST, ["--full-refresh"], "--full-refresh would leave only this window"),
        ({"partition_by": "month"}, FIRST, [], "partitioned by `ds` or not at all"),
        ({}, FIRST, [], "a model with a column `ds` needs config(partition_by='ds')"),
        (
            {"partition_by": "ds"},
            "select 1 as a",
            [],
            "a model with a column `ds` needs config(partition_by='ds')",
        ),
        ({"partition_by": "ds"}, FIRST.replace(DAY1, DAY3), [], "'2026-10-07', which was not asked for"),
        ({"incremental_strategy": "delete+insert"}, "select 1 as a", [], "is not one of delta's"),
        ({"incremental_strategy": "merge"}, "select 1 as a", [], "needs config(unique_key=…)"),
        ({"incremental_strategy": "append", "partition_by": "ds"}, FIRST, [], "would double the rows"),
        (
            {},
            "select union_value(n := 1) as either",
            [],
            "column either has type UNION(n INTEGER), which a Delta table cannot hold",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_words(shop, config, sql, args, said):
    days = (DAY1, DAY1) if config.get("partition_by") == "ds" else None
    assert said in shop.refused(sql, *args, days=days, **config)


def test_a_window_is_asked_for_in_words(shop):
    assert "gold/m is built by days: pass --vars" in shop.refused(FIRST, partition_by="ds")


def test_a_contract_is_kept(shop):
    yaml = "models: [{name: m, config: {contract: {enforced: true}}, columns: [{name: a, data_type: integer}]}]\n"
    (shop.folder / "models" / "m.yml").write_text(yaml)
    shop.built("select 1 as a")
    assert "contract" in shop.refused("select 'one' as a").lower()
    assert shop.rows() == [(1,)]


def test_types_come_back_as_they_were_and_other_readers_see_what_delta_has(shop):
    sql = """select 1.25::decimal(18,4) as money, timestamptz '2026-11-01 10:00:00.123456+02' as instant,
        timestamp '2026-11-01 10:00:00' as naive, {'a': 1, 'b': [{'c': 'x'}]} as nested, [1, 2, null] as numbers,
        map {'a': 1} as named, null::varchar as nothing, null as untyped, sum(x) as huge, time '10:01' as clock,
        timestamp '2026-11-01' - timestamp '2026-10-30 22:00' as span, 18446744073709551615::ubigint as hashed,
        'x'::blob as bytes, 'it''s' as "a quoted name" from range(3) as t(x)"""
    (shop.folder / "models" / "reads.sql").write_text("select typeof(columns(*)) from {{ ref('m') }}")
    shop.built(sql, "--select", "m")
    ok, output = dbt(shop.lake, shop.folder, "build", "--select", "reads")
    assert ok, output
    ok, output = dbt(shop.lake, shop.folder, "show", "--select", "reads", "--output", "json")
    assert ok, output
    for column, kind in {
        "money": "DECIMAL(18,4)", "instant": "TIMESTAMP WITH TIME ZONE", "naive": "TIMESTAMP", "huge": "HUGEINT",
        "clock": "TIME", "span": "INTERVAL", "hashed": "UBIGINT", "numbers": "INTEGER[]", "nothing": "VARCHAR", "untyped": "INTEGER",
    }.items():  # fmt: skip
        assert f'"{column}": "{kind}"' in output, (column, output)
    table = shop.lake.table("gold", "m")
    assert table is not None and table.protocol().min_reader_version == 1
    found = shop.rows('money::varchar, instant::varchar, nested.b[1].c, numbers, huge, span, "a quoted name"')
    assert found == [
        ("1.2500", "2026-11-01 08:00:00.123456+00", "x", [1, 2, None], 3, "1 day 02:00:00", "it's")
    ]
    assert shop.rows("hashed::varchar") == [("18446744073709551615",)]


def test_rows_that_a_test_found_are_published_where_it_stores_them(shop):
    (shop.folder / "tests").mkdir()
    found = "{{ config(store_failures=true, severity='warn') }} select a from {{ ref('m') }} where a > 1"
    (shop.folder / "tests" / "small.sql").write_text(found)
    for sql, rows in (("select unnest([1, 2, 3]) as a", 2), ("select 1 as a", 0)):
        shop.built(sql)
        with shop.lake.connect() as connection:
            assert connection.execute("select count(*) from gold_dbt_test__audit.small").fetchone() == (rows,)


def test_a_table_function_serves_later_runs(shop):
    function = "{{ config(materialized='table_function', parameters=['least']) }}"
    (shop.folder / "models" / "above.sql").write_text(
        f"{function} select a from {{{{ ref('m') }}}} where a >= least"
    )
    (shop.folder / "models" / "high.sql").write_text(TABLE + "select * from {{ ref('above') }}(2)")
    shop.built("select unnest([1, 2, 3]) as a")
    ok, output = dbt(shop.lake, shop.folder, "build", "--select", "high")
    assert ok and "published gold/high version 2: 2 rows" in output, output


TABLE = "{{ config(materialized='table') }} "


def test_a_number_that_delta_cannot_hold_is_named_and_holds_back_its_own_table_only(shop):
    (shop.folder / "models" / "huge.sql").write_text(TABLE + "select 99999999999999999999::hugeint as n")
    (shop.folder / "models" / "small.sql").write_text(TABLE + "select 1 as n")
    said = shop.refused("select 1 as a", "--exclude", "m")
    assert "NOT published gold/huge" in said and "99999999999999999999" in said
    assert shop.lake.tables() == [("gold", "small")]


def test_eight_days_built_at_the_same_time_are_all_kept(shop, tmp_path):
    """Eight processes create the table and commit to it at once."""
    config = "{{ config(materialized='delta', partition_by='ds') }}\n"
    (shop.folder / "models" / "m.sql").write_text(config + NUMBERED)
    days = [f"2026-10-{day:02}" for day in range(5, 13)]
    started = [
        start_dbt(shop.lake, tmp_path / day, "build", days=(day, day), project=shop.folder) for day in days
    ]
    for process in started:
        output, _ = process.communicate(timeout=patience(400))
        assert process.returncode == 0, output
    assert shop.rows("ds, n") == [(day, 1) for day in days]
    assert len(shop.lake.files("gold", "m")) == 8


BY_INSERT = """
{% materialization by_insert, adapter='duckdb' %}
  {% set target_relation = this.incorporate(type='table') %}
  {% call statement('main') %}
    {% if load_cached_relation(this) %}insert into {{ target_relation }} {{ sql }}
    {% else %}create table {{ target_relation }} as {{ sql }}{% endif %}
  {% endcall %}
  {{ adapter.commit() }}
  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
{% materialization no_relation, adapter='duckdb' %}
  {% call statement('main') %}{{ sql }}{% endcall %}
  {{ return({'relations': []}) }}
{% endmaterialization %}
"""


def test_tables_keep_the_order_of_their_rows_as_in_duckdb(shop):
    """Projects number rows as they come (`row_number() over ()`) and take the first ones."""
    numbers = shop.folder / "numbers.parquet"
    duckdb.sql(f"copy (select range as i from range(2_000_000)) to '{numbers}' (row_group_size 50_000)")
    models = {
        "numbered": f"select i, row_number() over () as n from read_parquet('{numbers}')",
        "first": "select i from {{ ref('numbered') }} limit 3",
    }
    for name, sql in models.items():
        (shop.folder / "models" / f"{name}.sql").write_text(TABLE + sql)
    for asked in (["--exclude", "m"], ["--select", "first"]):  # the second reads the lake
        ok, output = dbt(shop.lake, shop.folder, "build", *asked)
        assert ok, output
        with shop.lake.connect() as connection:
            assert connection.execute("select count(*) from gold.numbered where n <> i + 1").fetchone() == (
                0,
            )
            assert connection.execute("from gold.first").fetchall() == [(0,), (1,), (2,)]


def test_what_builds_on_its_own_past_finds_it(shop):
    """A materialization of the project's own, a table that reads itself, and a snapshot in a full refresh."""
    (shop.folder / "macros").mkdir()
    (shop.folder / "macros" / "materializations.sql").write_text(BY_INSERT)
    models = {
        "added": "{{ config(materialized='by_insert') }} select 1 as id",
        "itself": TABLE + "select {% if load_relation(this) %}(select max(n) + 1 from {{ this }}){% else %}1{% endif %} as n",
        "hooked": "{{ config(materialized='table', pre_hook=\"create table if not exists kept as select 0 as n; "
        "{% if load_relation(this) %}insert into kept select n from {{ this }}{% endif %}\") }} "
        "select 1 + (select max(n) from kept) as n",
        "nothing": "{{ config(materialized='no_relation') }} select 1",
        "dropped": "{{ config(materialized='table', post_hook='drop table {{ this }}') }} select 1 as id",
    }  # fmt: skip
    for name, sql in models.items():
        (shop.folder / "models" / f"{name}.sql").write_text(sql)
    (shop.folder / "snapshots").mkdir()
    (shop.folder / "snapshots" / "s.sql").write_text(
        "{% snapshot s %}{{ config(unique_key='id', strategy='check', check_cols='all') }}"
        "select 1 as id, {{ var('turn') }} as v{% endsnapshot %}"
    )
    for turn in (1, 2):
        ok, output = dbt(shop.lake, shop.folder, "build", "--full-refresh", "--exclude", "m", turn=turn)
        assert ok and "nothing published to gold/nothing" in output, output
        assert "nothing published to gold/dropped" in output
    with shop.lake.connect() as connection:
        found = "select (select count(*) from gold.added), n, (select max(n) from gold.hooked), "
        found += "(select count(*) from gold.s) from gold.itself"
        assert connection.execute(found).fetchall() == [(2, 2, 2, 2)]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata"])
def test_a_date_of_a_model_is_a_day_of_the_calendar(shop, monkeypatch, zone):
    """At both clock changes of Berlin and at one of Los Angeles: ends of days, and the days of moments."""
    monkeypatch.setenv("ASGARD_TIME_ZONE", zone)
    days = [date(2026, 3, 29), date(2026, 10, 25), date(2026, 11, 1), date(2026, 12, 31)]
    moments = [
        datetime(day.year, day.month, day.day, hour, 30, tzinfo=UTC) for day in days for hour in (5, 22)
    ]
    ends = " union all ".join(f"select date '{day}' as day" for day in days)
    shop.built(
        f"""select day::varchar as day, cast(day + interval 1 day as date)::timestamptz as ends, null::varchar as fell_on
        from ({ends}) union all
        select null, moment, cast(moment as date)::varchar from
        (select unnest([{", ".join(f"timestamptz '{m.isoformat()}'" for m in moments)}]) as moment)"""
    )
    here = ZoneInfo(zone)
    with shop.lake.connect() as connection:
        found = connection.execute("select day, epoch(ends)::bigint, fell_on from gold.m").fetchall()
    ended = {
        (str(day), int(datetime.combine(day + timedelta(1), datetime.min.time(), here).timestamp()), None)
        for day in days
    }
    fell = {(None, int(m.timestamp()), m.astimezone(here).date().isoformat()) for m in moments}
    assert set(found) == ended | fell
    assert shop.lake.table("gold", "m").schema().to_arrow().field("ends").type.tz == "UTC"
