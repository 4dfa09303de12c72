"""Schedules of sources: when they are due, which windows they ask for."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from pydantic import ValidationError

from asgard_assets.components.api import ApiIngestModel, api_asset, api_schedule
from asgard_assets.components.pulls import Pull
from asgard_assets.components.sql import SqlIngest, SqlIngestModel
from asgard_assets.ingest.api.plan.calendar import outstanding_windows
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.files.plan import control
from asgard_assets.windows import Calendar

NIGHTLY = {"every": "day", "at": "02:00"}


def source(name: str = "orders", **more: Any) -> ApiSource:
    form: dict[str, Any] = {"type": "pull", "items": "data", "pagination": {"type": "none"}}
    query = {"date": "{partition.key}"}
    if more.get("kind") == "changes":
        form["incremental"] = {"field": "updated_at", "start": "2026-01-01"}
        query = {"since": "{cursor.value}"}
    return ApiSource.model_validate(
        {
            "name": name,
            "form": form,
            "endpoint": {"base_url": "http://127.0.0.1:1", "path": "/x", "query": query},
            "sink": {"table": f"bronze/{name}"},
            "quality": {"description": "Orders."},
            **more,
        }
    )


@pytest.fixture(autouse=True)
def calendar(monkeypatch):
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-01-01")
    monkeypatch.setenv("ASGARD_PARTITION_END", "")


def asks(api: ApiSource, pull: dict[str, Any], at: datetime, done: tuple[str, ...] = ()) -> list[str]:
    """What a tick asks for: keys, ranges as FIRST...LAST, or why nothing is."""
    model = ApiIngestModel(source=api, pull=Pull(**pull))
    schedule = api_schedule(model)
    assert schedule is not None
    resources: dict[str, Any] = dict.fromkeys(("lake", "spark", "step_launcher"))
    found = dg.Definitions(assets=[api_asset(model)], schedules=[schedule], resources=resources)
    repository = found.get_repository_def()
    with dg.instance_for_test() if done else nullcontext() as instance:
        for key in done:
            instance.report_runless_asset_event(dg.AssetMaterialization(["bronze", api.name], partition=key))
        with dg.build_schedule_context(
            instance, scheduled_execution_time=at, repository_def=repository
        ) as context:
            result = schedule.evaluate_tick(context)
    asked = []
    for request in result.run_requests or []:
        tags = request.tags
        first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
        asked.append(request.partition_key or f"{first}...{last}")
    return asked or [result.skip_message or ""]


@pytest.mark.parametrize(
    ("pull", "cron"),
    [
        ({"every": "day", "at": "02:00"}, "0 2 * * *"),
        ({"every": "day"}, "0 2 * * *"),
        ({"every": "15 minutes"}, "*/15 * * * *"),
        ({"every": "60 minutes"}, "0 * * * *"),
        ({"every": "1 hour"}, "0 */1 * * *"),
        ({"every": "6 hours"}, "0 */6 * * *"),
        ({"every": "hour", "at": ":05"}, "5 * * * *"),
        ({"every": "week", "on": "friday", "at": "7:30"}, "30 7 * * 5"),
        ({"every": "month", "on": 3}, "0 2 3 * *"),
        ({"cron": "0 2 * * 1-5"}, "0 2 * * 1-5"),
    ],
)
def test_a_schedule_is_written_in_words_or_as_cron(pull, cron):
    assert Pull(**pull).schedule == cron


@pytest.mark.parametrize(
    "pull",
    [
        {},
        {"every": "fortnight"},
        {"every": "7 minutes"},
        {"every": "5 hours"},
        {"every": "day", "at": "25:00"},
        {"every": "hour", "at": "02:00"},
        {"every": "15 minutes", "at": "02:00"},
        {"every": "day", "on": "monday"},
        {"every": "month", "on": 31},
        {"every": "day", "cron": "0 2 * * *"},
        {"cron": "at night"},
        {"cron": "0 2 * *"},
        {"every": "day", "where": "Berlin"},
    ],
)
def test_a_schedule_that_means_nothing_or_two_things_is_refused(pull):
    with pytest.raises(ValidationError):
        Pull(**pull)


@pytest.mark.parametrize(
    ("pull", "words"),
    [
        ({"every": "fortnight"}, "'fortnight' is no pace; write hour, day, week or month"),
        ({"every": "day", "at": "25:00"}, "'25:00' is no time of day; write \"02:00\""),
    ],
)
def test_a_schedule_that_is_refused_says_how_to_write_one(pull, words):
    with pytest.raises(ValidationError, match=words):
        Pull(**pull)


NIGHT = datetime(2026, 10, 20, 2, tzinfo=UTC)


def test_a_night_asks_for_yesterday_and_for_the_days_in_which_events_come_late():
    assert asks(source(), NIGHTLY, NIGHT) == ["2026-10-19"]
    assert asks(source(lookback_days=3), NIGHTLY, NIGHT) == ["2026-10-16...2026-10-19"]


def test_a_snapshot_is_asked_for_the_day_that_it_is():
    assert asks(source(kind="snapshot"), NIGHTLY, NIGHT) == ["2026-10-20"]


def test_a_source_with_a_cursor_is_asked_for_one_day_at_a_time():
    changes = source(kind="changes")
    assert asks(changes, NIGHTLY, NIGHT, done=("2026-10-15",)) == ["2026-10-19"]
    monday = datetime(2026, 10, 19, 5, tzinfo=UTC)
    days = [f"2026-10-{day}" for day in range(12, 19)]
    assert asks(changes, {"cron": "0 5 * * 1"}, monday) == days
    assert asks(source(), {"cron": "0 5 * * 1"}, monday) == [f"{days[0]}...{days[-1]}"]


def test_a_paused_source_is_not_asked_and_catches_up_once_resumed(lake):
    control.pause(lake, "orders", "vendor resends", "ann")
    assert "vendor resends" in str(asks(source(), NIGHTLY, NIGHT))
    control.resume(lake, "orders")
    assert asks(source(), NIGHTLY, NIGHT, done=("2026-10-16",)) == ["2026-10-17...2026-10-19"]


def test_nights_that_were_missed_are_asked_for_later():
    assert asks(source(), NIGHTLY, NIGHT, done=("2026-10-16",)) == ["2026-10-17...2026-10-19"]
    assert asks(source(), NIGHTLY, NIGHT, done=("2026-01-01",)) == ["2026-08-21...2026-10-19"]


def test_a_schedule_follows_the_zone_of_the_calendar(monkeypatch):
    monkeypatch.setenv("ASGARD_TIME_ZONE", "Asia/Tokyo")
    tokyo = datetime(2026, 10, 20, 2, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert asks(source(), NIGHTLY, tokyo) == ["2026-10-19"]
    assert asks(source(kind="snapshot"), NIGHTLY, tokyo) == ["2026-10-20"]
    schedule = api_schedule(ApiIngestModel(source=source(), pull=Pull(**NIGHTLY)))
    assert schedule is not None and schedule.execution_timezone == "Asia/Tokyo"


def test_a_plan_counts_the_days_of_the_lookback():
    now = datetime(2026, 10, 20, 9, tzinfo=UTC)
    late = outstanding_windows(source(lookback_days=2), Calendar(), now)
    assert [late.wants(f"2026-10-{day}", True) for day in range(16, 21)] == [False, True, True, True, False]
    assert late.wants("2026-10-01", False)
    snapshot = outstanding_windows(source(kind="snapshot"), Calendar(), now)
    assert snapshot.wants("2026-10-20", True) and not snapshot.wants("2026-10-19", False)


@pytest.mark.parametrize("values", [["eu", "us"], "dynamic"])
def test_each_value_of_a_second_column_is_asked_for_by_itself(values):
    server = {"type": "postgres", "host": "127.0.0.1", "database": "shop", "user": "reader"}
    model = SqlIngestModel.model_validate(
        {
            "name": "shop", "database": server, "pull": NIGHTLY, "partitions": {"region": values},
            "tables": [{"table": "orders", "key": ["id"], "load": {"type": "windows", "column": "at"}}],
        }
    )  # fmt: skip
    found = SqlIngest(model).build_defs(None)  # pyright: ignore[reportArgumentType]
    whole = dg.Definitions.merge(found, dg.Definitions(resources={"lake": None}))
    repository = whole.get_repository_def()
    schedule = repository.get_schedule_def("pull_shop")
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("region", ["eu", "us"])
        with dg.build_schedule_context(
            instance,
            scheduled_execution_time=datetime(2026, 10, 20, 2, tzinfo=UTC),
            repository_def=repository,
        ) as context:
            asked = [request.partition_key for request in schedule.evaluate_tick(context).run_requests or []]
    assert asked == ["2026-10-19|eu", "2026-10-19|us"]
