"""A refresh asks whether a record changed, from Spark's own workers to Delta."""

from __future__ import annotations

import pytest

from asgard_assets.ingest.api.http.messages import Request
from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.table.bronze import VOLATILE
from asgard_assets.ingest.api.table.conditional import conditional
from tests.fakes.rest_api import TOKEN, serving
from tests.ingest.api.sources import USAGE, put_users, source

DAYS = ["2026-10-05", "2026-10-06"]


@pytest.fixture
def api(monkeypatch):
    with serving() as server:
        server.etags = True
        monkeypatch.setenv("TEST_API", server.url)
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        yield server


def rows(lake):
    with lake.connect() as connection:
        found = connection.execute("select * from bronze.usage order by ds, user_id").to_arrow_table()
    return found.to_pylist()


def business(lake):
    return {
        (row["ds"], row["user_id"]): {k: v for k, v in row.items() if k not in VOLATILE} for row in rows(lake)
    }


@pytest.mark.servers
def test_what_did_not_change_costs_no_body_and_keeps_its_row(spark, lake, api):
    put_users(lake, 60)
    first = run_pipeline(spark, source(USAGE), days=DAYS, lake=lake)
    before = business(lake)
    assert (first.unchanged, api.not_modified, len(before)) == (0, 0, 120)

    second = run_pipeline(spark, source(USAGE), days=DAYS, lake=lake)
    assert (second.unchanged, api.not_modified, second.bytes) == (120, 120, 0)
    assert second.modes == dict.fromkeys(DAYS, "refresh")
    assert business(lake) == before
    assert {(row["epoch"], row["run_id"] != "") for row in rows(lake)} == {(2, True)}

    api.changed = {3, 7, 50}
    third = run_pipeline(spark, source(USAGE), days=DAYS, lake=lake)
    assert (third.unchanged, third.rows, third.succeeded) == (114, 120, 120)
    after = business(lake)
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {(day, user) for day in DAYS for user in (3, 7, 50)}

    fourth = run_pipeline(spark, source(USAGE), days=DAYS, lake=lake)
    assert fourth.unchanged == 120
    assert business(lake) == after


@pytest.mark.servers
def test_an_api_that_ignores_conditions_gives_the_same_rows(spark, lake, api):
    put_users(lake, 5)
    api.etags, api.headers = False, {}
    run_pipeline(spark, source(USAGE), days=DAYS[:1], lake=lake)
    before = business(lake)
    second = run_pipeline(spark, source(USAGE), days=DAYS[:1], lake=lake)
    assert second.unchanged == 0
    assert business(lake) == before, "what was asked beside the request is no business column"


@pytest.mark.servers
def test_a_source_can_do_without(spark, lake, api):
    put_users(lake, 5)
    config = source(USAGE, endpoint=USAGE["endpoint"] | {"conditional": False})
    for _ in range(2):
        summary = run_pipeline(spark, config, days=DAYS[:1], lake=lake)
    assert (summary.unchanged, api.not_modified) == (0, 0)


def test_validators_become_the_headers_of_http():
    request = Request("id", "GET", "http://api", {"Accept": "*/*"})
    asked = conditional(request, '{"etag":"W/\\"a\\"","last-modified":"Mon, 05 Oct 2026 00:00:00 GMT"}')
    assert asked.headers == {
        "Accept": "*/*",
        "If-None-Match": 'W/"a"',
        "If-Modified-Since": "Mon, 05 Oct 2026 00:00:00 GMT",
    }
    assert asked.trace is request.trace
    assert conditional(request, None) is request


def test_how_a_request_travels_is_no_part_of_its_identity():
    plain = source(USAGE)
    other = source(USAGE, endpoint=USAGE["endpoint"] | {"conditional": False, "redirects": 0})
    assert plain.identity == other.identity
