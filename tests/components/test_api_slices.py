"""API sources that are asked for one region after the other: the table is cut by it beside time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from asgard_assets.components.api import ApiIngestModel, api_asset, api_schedule
from asgard_assets.components.pulls import Pull
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.preview import dry_run, preview
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake
from tests.components.test_api import RESOURCES, materialize
from tests.fakes.rest_api import TOKEN, serving
from tests.ingest.api.sources import TICKETS, USAGE, put_users, source

DAYS, REGIONS = ("2026-10-05", "2026-10-06"), {"region": ["eu", "us"]}
BY_REGION = {"date": "{partition.region}-{partition.key}"}
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def tickets(**changes: Any) -> ApiSource:
    endpoint = TICKETS["endpoint"] | {"query": BY_REGION}
    return source(TICKETS, **({"partitions": REGIONS, "endpoint": endpoint} | changes))


def usage(**changes: Any) -> ApiSource:
    endpoint = USAGE["endpoint"] | {"query": BY_REGION}
    return source(USAGE, **({"partitions": REGIONS, "endpoint": endpoint} | changes))


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def api(monkeypatch):
    with serving() as server:
        monkeypatch.setenv("TEST_API", server.url)
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        yield server


def no_spark() -> Any:
    raise AssertionError("these are too few requests for Spark")


def rows(lake: Lake, name: str, column: str) -> list[tuple[Any, ...]]:
    with lake.connect() as connection:
        return connection.execute(
            f"select ds, region, {column} from bronze.{name} where success order by all"
        ).fetchall()


def test_each_region_is_a_list_of_its_own_and_is_replaced_alone(lake: Lake, api, instance):
    asset = api_asset(ApiIngestModel(source=tickets()))
    for region in ("eu", "us"):
        tags = {FIRST: f"{DAYS[0]}|{region}", LAST: f"{DAYS[1]}|{region}"}
        assert materialize(asset, lake, instance, tags=tags).success
    api.tickets = 1
    assert materialize(asset, lake, instance, partition_key=f"{DAYS[0]}|us").success
    found = rows(lake, "tickets", "payload->>'$.ticket_id'")
    wanted = {f"{day}|{region}": 5 for day in DAYS for region in ("eu", "us")} | {f"{DAYS[0]}|us": 1}
    assert found == [
        (key[:10], key[11:], f"{key[11:]}-{key[:10]}-{n}")
        for key, count in wanted.items()
        for n in range(count)
    ]
    assert lake.epochs("bronze", "tickets", [*wanted]) == dict.fromkeys(wanted, 1) | {f"{DAYS[0]}|us": 2}


def test_a_resume_sends_only_what_its_own_region_lacks(lake: Lake, api, instance):
    put_users(lake, 4)
    api.status = {3: [503] * 4}
    asset = api_asset(ApiIngestModel(source=usage()))
    for region in ("eu", "us"):
        assert materialize(asset, lake, instance, partition_key=f"{DAYS[0]}|{region}").success
    assert len(rows(lake, "usage", "user_id")) == 6
    api.status = {}
    api.forget()
    assert materialize(asset, lake, instance, partition_key=f"{DAYS[0]}|us").success
    assert list(api.requests) == [f"/v1/users/3/usage?date=us-{DAYS[0]}"]
    assert [row[1] for row in rows(lake, "usage", "user_id")].count("us") == 4


def test_an_answer_that_did_not_change_is_kept_in_its_region(lake: Lake, api, instance):
    put_users(lake, 2)
    api.etags = True
    endpoint = USAGE["endpoint"] | {"query": BY_REGION, "conditional": True}
    asset = api_asset(ApiIngestModel(source=usage(endpoint=endpoint)))
    for _ in range(2):
        tags = {FIRST: f"{DAYS[0]}|eu", LAST: f"{DAYS[0]}|eu"}
        assert materialize(asset, lake, instance, tags=tags).success
    assert api.not_modified == 2
    assert [row[:2] for row in rows(lake, "usage", "user_id")] == [(DAYS[0], "eu")] * 2


@pytest.mark.parametrize("typed", [{"type": "struct"}, {"type": "text"}])
def test_payloads_are_typed_in_slices_too(lake: Lake, api, typed: dict[str, str]):
    about = tickets(sink={"table": "bronze/tickets", "payload": typed})
    told = run_pipeline(no_spark, about, lake=lake, days=[f"{DAYS[0]}|eu"])
    assert told.version is not None and not told.bad_days
    assert len(rows(lake, "tickets", "payload")) == 5


def test_without_a_word_about_days_every_region_is_asked(lake: Lake, api):
    told = run_pipeline(no_spark, tickets(), lake=lake)
    assert sorted(day[11:] for day in told.days) == ["eu", "us"]
    with pytest.raises(ConfigError, match="name a day and one of eu, us"):
        run_pipeline(no_spark, tickets(), lake=lake, days=["2026-10-05"])
    with pytest.raises(ConfigError, match="2026-10-05|VALUE"):
        run_pipeline(no_spark, tickets(partitions={"region": "dynamic"}), lake=lake)


def test_a_dry_run_and_a_preview_show_the_region(lake: Lake, api):
    [request, *_] = dry_run(lake, tickets(), [f"{DAYS[0]}|us"], "auto").requests
    assert "date=us-2026-10-05" in getattr(request, "url", "")
    assert preview(lake, tickets(), f"{DAYS[0]}|us").rows[0]["success"]


def test_the_schedule_asks_for_each_region(lake: Lake, instance):
    model = ApiIngestModel(source=tickets(), pull=Pull(every="day", at="02:00"))
    schedule = api_schedule(model)
    assert schedule is not None
    defs = dg.Definitions(assets=[api_asset(model)], schedules=[schedule], resources=RESOURCES)
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 10, 7, 2, tzinfo=UTC),
        repository_def=defs.get_repository_def(),
    ) as context:
        asked = schedule.evaluate_tick(context).run_requests or []
    assert {str(run.partition_key)[-3:] for run in asked} == {"|eu", "|us"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"endpoint": TICKETS["endpoint"]}, "no part of the request names {partition.region}"),
        ({"partitions": {}}, "unknown placeholder {partition.region}"),
        ({"endpoint": TICKETS["endpoint"] | {"query": {"date": "{partition.day}"}}}, "unknown placeholder"),
        ({"partitions": {"region": []}}, "needs a list of different values"),
        ({"sink": {"kafka": "events.tickets"}}, "does not go with `partitions`"),
    ],
)
def test_what_would_give_every_region_the_same_is_refused(changes: dict[str, Any], why: str):
    with pytest.raises((ValidationError, ConfigError)) as raised:
        tickets(**changes)
    assert why in str(raised.value)
