"""Gold as dbt builds it: what it says, and that nothing is published which its tests refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asgard_assets.lake import Lake
from asgard_assets.lake.changes.lost import MARK
from tests.fakes.gold import DAYS, put_silver, rows, run_dbt, start_dbt, version_elsewhere
from tests.patience import patience

WINDOW = (DAYS[0], DAYS[-1])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, str, Path]:
    """A lake in which `dbt build` ran over three days, unit tests included."""
    home = tmp_path_factory.mktemp("gold")
    lake = Lake(str(home / "lake"))
    put_silver(lake)
    code, output = run_dbt(lake, home / "target", "build", days=WINDOW)
    assert code == 0, output
    return lake, output, home


@pytest.fixture
def silver(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    put_silver(lake)
    return lake


@pytest.mark.slow
def test_a_range_of_days_is_one_commit_with_every_customer_known_on_each_day(built):
    lake, _, home = built
    found = rows(lake, "customer_metrics", "ds, customer_id, plan", "1, 2")
    assert found == [
        (DAYS[0], 1, "basic"),
        (DAYS[0], 3, "basic"),
        (DAYS[1], 1, "premium"),
        (DAYS[1], 3, "basic"),
        (DAYS[2], 1, "premium"),
        (DAYS[2], 2, "basic"),
        (DAYS[2], 3, "basic"),
    ]
    report = json.loads((home / "target" / "delta_publish.json").read_text())
    published = report["published"]["model.gold.customer_metrics"]
    assert published["rows"] == dict(zip(DAYS, (2, 2, 3), strict=True))
    # The table is created empty as version 0; the range is version 1.
    assert published["version"] == lake.version("gold", "customer_metrics") == 1


@pytest.mark.slow
def test_metrics_count_what_was_known_on_the_day(built):
    lake, _, _ = built
    columns = (
        "orders, total_purchases, sessions_7d, errors_7d, high_tickets_30d, open_invoices, unpaid_amount"
    )
    with lake.connect() as connection:
        found = connection.execute(
            f"select {columns} from gold.customer_metrics where customer_id = 1 order by ds"
        ).fetchall()
        other = connection.execute(
            f"select {columns}, subscription, days_since_last_purchase from gold.customer_metrics "
            "where customer_id = 2"
        ).fetchall()
    assert found == [
        (1, 0.1, 2, 0, 0, 1, 10.1),
        (2, 0.3, 4, 0, 1, 1, 10.1),
        (2, 0.3, 4, 1, 1, 1, 10.1),
    ]
    assert other == [(0, 0.0, 0, 0, 0, 0, 0.0, "active", None)]


@pytest.mark.slow
def test_revenue_adds_up_to_the_invoices_of_the_day(built):
    lake, _, _ = built
    with lake.connect() as connection:
        found = connection.execute(
            "select ds, sum(customers), sum(invoiced_amount)::varchar, sum(paid_amount)::varchar "
            "from gold.revenue_daily group by ds order by ds"
        ).fetchall()
    assert found == [
        (DAYS[0], 2, "10.10", "0.00"),
        (DAYS[1], 2, "0.00", "0.00"),
        (DAYS[2], 3, "7.00", "7.00"),
    ]


@pytest.mark.slow
def test_unit_tests_of_dbt_pass(built):
    _, output, _ = built
    assert "PASS customer_metrics::customer_metrics_knows_only_the_past" in output


@pytest.mark.slow
def test_times_are_utc_microseconds_and_any_delta_reader_understands_the_table(built):
    lake, _, _ = built
    table = lake.table("gold", "customer_metrics")
    assert table is not None
    types = {field.name: str(field.type) for field in table.schema().fields}
    assert types["event_timestamp"] == types["created_at"] == 'PrimitiveType("timestamp")'
    assert types["orders"] == 'PrimitiveType("long")'
    assert table.protocol().min_reader_version == 1


@pytest.mark.servers
def test_a_day_alone_equals_the_day_within_a_range_and_a_second_run_changes_nothing(silver, tmp_path):
    code, output = run_dbt(silver, tmp_path / "range", "build", days=WINDOW)
    assert code == 0, output
    before = rows(silver, "customer_metrics"), rows(silver, "revenue_daily")
    code, output = run_dbt(silver, tmp_path / "day", "build", days=(DAYS[1], DAYS[1]))
    assert code == 0, output
    assert (rows(silver, "customer_metrics"), rows(silver, "revenue_daily")) == before


@pytest.mark.servers
def test_a_failing_blocking_test_leaves_the_table_and_what_is_built_on_it_unchanged(silver, tmp_path):
    code, output = run_dbt(silver, tmp_path / "good", "build", days=WINDOW)
    assert code == 0, output
    versions = [version_elsewhere(silver, name) for name in ("customer_metrics", "revenue_daily")]
    put_silver(silver, subscription="paused")
    code, output = run_dbt(silver, tmp_path / "bad", "build", days=WINDOW)
    assert code != 0
    assert [version_elsewhere(silver, name) for name in ("customer_metrics", "revenue_daily")] == versions
    report = json.loads((tmp_path / "bad" / "delta_publish.json").read_text())
    refused = report["unpublished"]["model.gold.customer_metrics"]
    assert refused["tests"] == ["accepted_values_customer_metrics_subscription__active__cancelled"]
    assert report["published"] == {}
    # What was staged is gone: nothing but the log, the mark that there is one, and the published files is left.
    files = {Path(uri).parent.parent for uri in silver.files("gold", "customer_metrics")}
    table = Path(silver.path("gold", "customer_metrics"))
    assert {p for p in table.iterdir() if p.name not in ("_delta_log", MARK)} == files


@pytest.mark.servers
def test_different_days_built_at_the_same_time_are_all_kept(silver, tmp_path):
    started = [start_dbt(silver, tmp_path / day, "build", days=(day, day)) for day in DAYS]
    for process in started:
        output, _ = process.communicate(timeout=patience(200))
        assert process.returncode == 0, output
    counts = rows(silver, "customer_metrics", "ds", "1")
    assert [counts.count((day,)) for day in DAYS] == [2, 2, 3]


@pytest.mark.servers
def test_models_tested_by_nobody_in_this_run_stay_unpublished(silver, tmp_path):
    code, output = run_dbt(silver, tmp_path / "target", "run", days=WINDOW)
    assert "blocking tests did not run (use `dbt build`)" in output
    assert version_elsewhere(silver, "customer_metrics") == -1
    assert code == 0


@pytest.mark.servers
def test_what_would_leave_a_partial_table_is_refused(silver, tmp_path):
    code, output = run_dbt(silver, tmp_path / "full", "build", "--full-refresh", days=WINDOW)
    assert code != 0 and "--full-refresh would leave only this window" in output
