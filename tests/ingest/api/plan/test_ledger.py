import pytest

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.api.plan.intake import parsed_rows
from asgard_assets.ingest.api.plan.ledger import plan_rows
from asgard_assets.ingest.api.plan.requests import PLAN, requests_of
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.table.bronze import arrow_schema
from asgard_assets.lake import Lake
from tests.ingest.api.sources import USAGE, put_users, source

DAY = "2026-10-05"


def plan(lake: Lake, config=None, mode="auto", days=(DAY,)):
    config = config or source(USAGE)
    staging = lake.stage("bronze", "usage", arrow_schema(config), days)
    return plan_rows(Run(lake, config, tuple(days), mode), staging), staging


def ids(lake, staging, day=DAY):
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = pq.read_table(f"{staging.path}/{PLAN}").filter(pc.field("ds") == day).to_pylist()
    return {row["row_key"]: row["request_id"] for row in rows}


def rows(query, **more):
    return source(USAGE, form={"type": "row", "rows": USAGE["form"]["rows"] | {"query": query} | more})


def test_every_row_is_one_request_with_a_stable_id(lake):
    put_users(lake, 3)
    found, staging = plan(lake)
    again, other = plan(lake)
    assert found.send == again.send == {DAY: 3}
    assert ids(lake, staging) == ids(lake, other)
    assert set(ids(lake, staging)) == {'{"user_id":1}', '{"user_id":2}', '{"user_id":3}'}


def test_the_same_row_of_another_day_is_another_request(lake):
    put_users(lake, 1)
    _, staging = plan(lake, days=(DAY, "2026-10-06"))
    assert ids(lake, staging)['{"user_id":1}'] != ids(lake, staging, "2026-10-06")['{"user_id":1}']


def test_rows_that_make_the_same_request_are_sent_once(lake):
    put_users(lake, 2)
    config = rows("select id as user_id from bronze.users union all select id from bronze.users")
    assert plan(lake, config)[0].send == {DAY: 2}


def test_results_do_not_see_the_plan(lake):
    put_users(lake, 2)
    _, staging = plan(lake)
    assert lake.staged_files(staging) == {DAY: []}


def test_a_missing_upstream_is_an_error_that_says_what_to_do(lake):
    with pytest.raises(SourceError, match="materialize bronze/users first"):
        plan(lake)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("selct 1", "is no SQL"),
        ("select 1 as user_id; drop table x", "one SELECT"),
        ("create table x as select 1", "one SELECT"),
        ("select 1 as other", "declared columns"),
        ("select 'x' as user_id", "declared columns"),
        ("select no_such_column from bronze.users", "cannot be run"),
    ],
)
def test_a_query_that_is_wrong_is_refused(lake, query, message):
    put_users(lake, 1)
    with pytest.raises(ConfigError, match=message):
        plan(lake, rows(query))


def test_requests_are_dealt_out_evenly_and_days_stay_in_order(lake):
    import pyarrow.parquet as pq

    put_users(lake, 1000)
    config = source(USAGE)
    days = [DAY, "2026-10-06"]
    staging = lake.stage("bronze", "usage", arrow_schema(config), days)
    found = plan_rows(Run(lake, config, tuple(days)), staging, tasks=lambda _: 3)
    assert found.tasks == 3
    parts = [
        pq.read_table(f"{staging.path}/{PLAN}/{task:05d}.parquet")["ds"].to_pylist() for task in range(3)
    ]
    assert sum(map(len, parts)) == 2000
    assert max(map(len, parts)) - min(map(len, parts)) <= 4
    assert all(part == sorted(part) for part in parts)


def test_a_number_that_no_double_holds_keeps_its_digits(lake):
    put_users(lake, 1)
    query = (
        "select id as user_id, 12345678901234567890.50::decimal(30, 2) as wide, 1.5::decimal(5, 2) as narrow, "
        "(2::hugeint ** 100)::hugeint as huge, 'NaN'::double as odd from bronze.users"
    )
    base = USAGE["form"]["rows"] | {"query": query, "columns": ["wide", "narrow", "huge", "odd"]}
    config = source(USAGE, form={"type": "row", "rows": base})
    staging = lake.stage("bronze", "usage", arrow_schema(config), [DAY])
    plan_rows(Run(lake, config, (DAY,)), staging)
    (batch,) = requests_of(lake, staging.path, 0)
    row = parsed_rows(batch.column("row").to_pylist())[0]
    assert row["wide"] == "12345678901234567890.50"
    assert row["narrow"] == 1.5
    assert row["huge"] == "1267650600228229401496703205376"
    assert row["odd"] != row["odd"]
