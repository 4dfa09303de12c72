"""A month of runs with late data: each incremental strategy leaves the rows that plain dbt-duckdb leaves."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from tests.dbt.comparing import PROFILES, differences, in_lake, run
from tests.fakes.dbt_process import write_project

FIRST, DAYS = date(2026, 10, 1), 30
SINCE = "{% if is_incremental() %} where arrived > (select max(arrived) from {{ this }}) {% endif %}"
NEWEST = "qualify row_number() over (partition by id order by version desc) = 1"


def incremental(strategy: str, sql: str, **more: object) -> str:
    said = "".join(f", {name}={value!r}" for name, value in more.items())
    return f"{{{{ config(materialized='incremental', incremental_strategy='{strategy}'{said}) }}}} {sql}"


PROJECT = {
    "profiles.yml": PROFILES,
    "dbt_project.yml": "name: month\nversion: '1.0'\nprofile: delta\n",
    # 20 events a day. One in seven arrives up to four days late; one in eleven is corrected one to four days later.
    "models/raw.sql": """
{{ config(materialized='table', event_time='moment') }}
with events as (
    select id, id // 20 as day, 0 as version, id // 20 + if(id % 7 = 0, id % 5, 0) as arrived from range(600) as t(id)
    union all
    select id, id // 20, 1, id // 20 + 1 + if(id % 7 = 0, id % 5, 0) + id % 4 from range(600) as t(id) where id % 11 = 0
)
select id, day, version, arrived, id * 37 % 101 + 1000 * version as amount,
       timestamp '2026-10-01' + to_days(day::int) + to_hours((id % 20)::int) as moment
from events where arrived <= {{ var('today') }}
""",
    "models/appended.sql": incremental("append", f"select * from {{{{ ref('raw') }}}} {SINCE}"),
    "models/defaulted.sql": "{{ config(materialized='incremental', unique_key='id') }} "
    f"select * from {{{{ ref('raw') }}}} {SINCE} {NEWEST}",
    "models/replaced.sql": incremental(
        "delete+insert", f"select * from {{{{ ref('raw') }}}} {SINCE} {NEWEST}", unique_key="id"
    ),
    "models/days.sql": incremental(
        "delete+insert",
        "select day, count(*) as n, sum(amount) as amount from {{ ref('raw') }} {% if is_incremental() %} where day in "
        "(select day from {{ ref('raw') }} where arrived >= {{ var('today') }}) {% endif %} group by day",
        unique_key="day",
    ),
    "models/merged.sql": incremental(
        "merge", f"select * from {{{{ ref('raw') }}}} {SINCE} {NEWEST}", unique_key="id"
    ),
    "models/partly.sql": incremental(
        "merge",
        f"select * from {{{{ ref('raw') }}}} {SINCE} {NEWEST}",
        unique_key=["id", "day"],
        merge_update_columns=["version", "amount"],
    ),
    "models/batches.sql": incremental(
        "microbatch",
        "select * from {{ ref('raw') }}",
        event_time="moment",
        batch_size="day",
        begin="2026-10-01",
        lookback=2,
    ),
    "models/on_top.sql": "{{ config(materialized='table') }} "
    "select count(*) as n, sum(m.amount) as amount from {{ ref('merged') }} as m join {{ ref('days') }} using (day)",
}
OVERWRITTEN = {
    "models/overwritten.sql": incremental(
        "insert_overwrite", f"select * from {{{{ ref('raw') }}}} {SINCE}", partition_by="day"
    ),
}
COUNTED = ("appended", "replaced", "merged", "batches", "days")


def test_a_month_of_runs_with_late_data_leaves_the_rows_of_plain_dbt(tmp_path: Path):
    project, found = write_project(tmp_path / "month", PROJECT), list[tuple[int, str]]()
    for day in range(DAYS):
        if day in (6, 7):
            continue  # nobody ran it
        began, ends = FIRST + timedelta(day - 2), FIRST + timedelta(day + 1)
        batches = ["--event-time-start", f"{max(began, FIRST)}", "--event-time-end", f"{ends}"]
        command = ["run", "--vars", f"{{today: {day}}}", *batches]
        command += ["--full-refresh"] if day == 20 else []
        for _ in range(2 if day == 12 else 1):
            found += [(day, told) for told in differences(project, *command)]
    assert not found, "\n".join(f"{day}: {told[:2000]}" for day, told in found[:5])
    rows = {name: len(in_lake(project)[f"gold.{name}"][1]) for name in COUNTED}
    assert rows["days"] == DAYS and rows["replaced"] == rows["merged"] < rows["appended"]
    assert rows["merged"] > 550 and rows["batches"] > 200, rows


def test_a_strategy_that_duckdb_lacks_is_refused_as_plain_dbt_refuses_it(tmp_path: Path):
    project = write_project(tmp_path / "month", PROJECT | OVERWRITTEN)
    for today in range(2):
        said = differences(project, "run", "--vars", f"{{today: {today}}}", "--select", "raw", "overwritten")
        assert not said, "\n".join(said)
    for engine in ("plain", "delta"):
        ran = run(project, engine, "run", "--vars", "{today: 2}", "--select", "raw", "overwritten")
        assert not ran.ok and ran.status["model.month.overwritten"][0] == "error"
        assert "insert_overwrite" in ran.output
