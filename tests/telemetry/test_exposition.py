"""Facts as Prometheus reads them: names, labels, sums, and series that are there before their first failure."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from asgard_assets.telemetry.exposition import exposition
from asgard_assets.telemetry.facts import AssetRun, Facts, LagFact, RunFact, TableFact


def series(facts: Facts) -> dict[tuple[str, ...], float]:
    """Values by name and labels, those by their name."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition(facts))
        for sample in family.samples
    }


def test_runs_count_for_each_of_their_assets_and_failures_have_a_series_before_they_happen():
    found = series(
        Facts(
            runs=[
                RunFact("success", ["bronze/a", "silver/a"], 2.0, 20.0),
                RunFact("failure", ["bronze/a"], 1.0, 400.0),
                RunFact("queued", ["gold/a"]),
            ]
        )
    )
    assert found["asgard_asset_runs_total", "bronze/a", "success"] == 1
    assert found["asgard_asset_runs_total", "bronze/a", "failure"] == 1
    assert found["asgard_asset_runs_total", "silver/a", "failure"] == 0
    assert found["asgard_asset_runs_total", "gold/a", "failure"] == 0
    assert found["asgard_queue_depth",] == 1 and found["asgard_runs", "queued"] == 1
    assert found["asgard_run_seconds_bucket", "15.0", "success"] == 0
    assert found["asgard_run_seconds_bucket", "30.0", "success"] == 1
    assert found["asgard_run_seconds_sum", "failure"] == 400


def test_sums_are_of_all_runs_and_gauges_of_the_last():
    first = AssetRun("bronze/a", rows=5, requests=2, memory_bytes=10, outcomes={"success": 5})
    second = AssetRun("bronze/a", rows=7, requests=3, memory_bytes=4, outcomes={"success": 6, "terminal": 1})
    found = series(Facts(made=[first, second]))
    assert found["asgard_asset_rows_total", "bronze/a"] == 12
    assert found["asgard_asset_requests_total", "bronze/a"] == 5
    assert found["asgard_asset_request_outcomes_total", "bronze/a", "success"] == 11
    assert found["asgard_asset_memory_bytes", "bronze/a"] == 4


def test_a_table_without_quarantine_has_a_series_of_zero():
    tables = [TableFact("bronze/a", 1, 1, 1, 1, 5.0), TableFact("bronze/b", 1, 1, 1, 1)]
    found = series(Facts(tables=[*tables, TableFact("quarantine/b", 9, 1, 1, 1)]))
    assert found["asgard_quarantine_rows", "a"] == 0 and found["asgard_quarantine_rows", "b"] == 9
    assert found["asgard_table_published_timestamp_seconds", "bronze/a"] == 5
    assert ("asgard_table_published_timestamp_seconds", "bronze/b") not in found


def test_names_of_all_kinds_are_quoted_and_what_is_unread_is_said():
    odd = 'ev"il\n\\name'
    found = series(Facts(lags=[LagFact(odd, "t", 0, 3, 7)], unread={"streams": "away"}))
    assert found["asgard_stream_lag_records", "0", odd, "t"] == 3
    assert found["asgard_metrics_unread", "streams"] == 1 and found["asgard_metrics_unread", "lake"] == 0
