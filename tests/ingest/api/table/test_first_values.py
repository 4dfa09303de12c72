"""Fields that have no value on the first day get the type of their first value; nothing is lost meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.payload import (
    Misfits,
    filled,
    fit,
    merge,
    open_places,
    refitted,
    settled,
    shape,
    told_of,
)
from asgard_assets.lake import Lake
from tests.fakes.rest_api import RestApi, serving

DAYS = ("2026-10-05", "2026-10-06", "2026-10-07", "2026-10-08")


class Days(RestApi):
    """`GET /items?day=` answers what the test says for that day."""

    items: dict[str, list[Any]]

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/items", self._items)
        return app

    async def _items(self, request: web.Request) -> web.Response:
        return web.json_response({"data": self.items[request.query["day"]]})


@pytest.fixture
def api() -> Iterator[Days]:
    with serving(Days()) as server:
        yield server


def events(api: Days, **sink: Any) -> ApiSource:
    return ApiSource.model_validate(
        {
            "name": "events",
            "form": {"type": "pull", "items": "data", "key": {"id": "bigint"}},
            "endpoint": {"base_url": api.url, "path": "/items", "query": {"day": "{partition.key}"}},
            "sink": {"table": "bronze/events", "payload": {"type": "struct"}} | sink,
            "quality": {"description": "Events."},
        }
    )


def payloads(lake: Lake, day: str) -> list[Any]:
    with lake.connect() as connection:
        found = connection.execute(
            f"select payload, payload_rescued from bronze.events where ds = '{day}' order by id"
        ).fetchall()
    return [payload if rescued is None else (payload, rescued) for payload, rescued in found]


def run(spark, lake: Lake, api: Days, day: str):
    return run_pipeline(spark, events(api), days=[day], lake=lake)


def no_spark():
    pytest.fail("a Spark session was opened")


FIRST = {"id": 1, "by": None, "tags": [], "size": None, "at": {}, "parts": [{"n": None}]}
LATER = {"id": 1, "by": "agent 1", "tags": ["late"], "size": 7, "at": {"x": 1.5}, "parts": [{"n": True}]}


def test_text_lists_and_numbers_are_typed_by_their_first_values(lake, api):
    api.items = {DAYS[0]: [FIRST], DAYS[1]: [FIRST], DAYS[2]: [LATER, FIRST | {"id": 2}], DAYS[3]: [LATER]}
    assert run(no_spark, lake, api, DAYS[0]).drift == {}
    assert run(no_spark, lake, api, DAYS[1]).drift == {}
    third = run(no_spark, lake, api, DAYS[2])
    assert third.drift == {}
    assert any("by: string" in note and "size: bigint" in note for note in third.notes)
    assert run(no_spark, lake, api, DAYS[3]).notes == ()
    empty = FIRST | {"id": 2, "at": {"x": None}}
    assert payloads(lake, DAYS[2]) == [LATER, empty]
    assert payloads(lake, DAYS[3]) == [LATER]
    before = payloads(lake, DAYS[0])[0]
    assert (before["by"], before["tags"], before["size"], before["parts"]) == (None, [], None, [{"n": None}])


def test_values_that_differ_in_type_stay_whole(lake, api):
    api.items = {
        DAYS[0]: [{"id": 1, "x": None, "y": None}],
        DAYS[1]: [{"id": 1, "x": 1, "y": "a"}, {"id": 2, "x": "one", "y": None}],
        DAYS[2]: [{"id": 1, "x": [1], "y": 5, "z": "new"}],
    }
    for day in DAYS[:3]:
        run(no_spark, lake, api, day)
    assert [p["x"] for p in payloads(lake, DAYS[1])] == ["1", '"one"'], "JSON text, as of any mixed field"
    ((payload, rescued),) = payloads(lake, DAYS[2])
    assert payload == {"id": 1, "x": "[1]", "y": None}
    assert rescued == '{"z":"new","y":5}' or rescued == '{"y":5,"z":"new"}'


def test_a_day_that_is_asked_again_gets_the_type_too(lake, api):
    api.items = {DAYS[0]: [{"id": 1, "x": None}], DAYS[1]: [{"id": 1, "x": 2**60}]}
    run(no_spark, lake, api, DAYS[0])
    run(no_spark, lake, api, DAYS[1])
    api.items[DAYS[0]] = [{"id": 1, "x": 5}]
    run_pipeline(no_spark, events(api), days=[DAYS[0]], lake=lake, mode="refresh")
    assert payloads(lake, DAYS[0]) == [{"id": 1, "x": 5}]
    assert payloads(lake, DAYS[1]) == [{"id": 1, "x": 2**60}]


@pytest.mark.slow
def test_sparks_workers_do_the_same(spark, lake, api):
    api.items = {DAYS[0]: [FIRST], DAYS[1]: [LATER]}
    run(spark, lake, api, DAYS[0])
    run(spark, lake, api, DAYS[1])
    assert payloads(lake, DAYS[1]) == [LATER]
    assert spark.read.format("delta").load(lake.path("bronze", "events")).count() == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(JSON, min_size=1, max_size=3), st.lists(JSON, min_size=1, max_size=3))
def test_no_value_is_lost_whatever_the_days_hold(first, second):
    told = None
    for value in first:
        told = merge(told, shape({"v": value}))
    known = settled(told, None)
    told = None
    for value in second:
        told = merge(told, told_of({"v": value}, open_places(known)) if known is not None else None)
    full = filled(known, told)
    for value in first:
        misfits = Misfits()
        fitted = fit({"v": value}, known, misfits)
        assert not misfits.values
        again = Misfits()
        assert refitted(fitted, known, full) == fit({"v": value}, full, again)
        assert not again.values
    for value in second:
        misfits, direct = Misfits(), Misfits()
        fitted = fit({"v": value}, known, misfits)
        assert refitted(fitted, known, full) == fit({"v": value}, full, direct)
