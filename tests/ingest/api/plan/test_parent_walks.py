"""A job of parents' lists that was killed goes on where it was: whole lists are kept, others walked on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from asgard_assets.ingest.api.pipeline import run_pipeline, stage_source
from asgard_assets.ingest.api.plan.parents import chains
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake
from tests.fakes.parents_api import ParentsApi
from tests.fakes.rest_api import serving
from tests.ingest.api.sources import put_users

DAY = "2026-10-05"


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def api():
    with serving(ParentsApi()) as server:
        yield server


def no_spark() -> Any:
    pytest.fail("a Spark session was opened")


def orders(url: str, pagination: dict[str, Any] | None = None, **changes: Any) -> ApiSource:
    rows = {"table": "bronze/users", "key": {"id": "bigint"}}
    form = {
        "type": "pull", "rows": rows, "items": "data",
        "pagination": pagination or {"type": "cursor"}, "key": {"order": "bigint"},
    }  # fmt: skip
    return ApiSource.model_validate(
        {
            "name": "orders",
            "form": form,
            "endpoint": {"base_url": url, "path": "/customers/{row.id}/orders"},
            "retry": {"attempts": 1},
            "limits": {"max_in_flight": 4},
            "execution": {"flush_rows": 12},
            "sink": {"table": "bronze/orders"},
            "quality": {"description": "Orders of each customer."},
        }
        | changes
    )


def killed(lake: Lake, config: ApiSource, api: ParentsApi, after: int, spark: Any = no_spark) -> int:
    """A run that ends in the middle, after so many answers. Gives back how many there were."""
    api.dies_after = after
    with pytest.MonkeyPatch.context() as patch, pytest.raises((Killed, BaseExceptionGroup)):
        patch.setattr("asgard_assets.ingest.api.http.transport.AiohttpTransport.send", api.dying(Killed))
        stage_source(spark, Run(lake, config, (DAY,)))
    return sum(api.asked.values())


def landed(lake: Lake) -> tuple[int, int]:
    with lake.connect() as connection:
        found = connection.execute(
            'select count(*), count(distinct (id, "order")) from bronze.orders'
        ).fetchone()
    assert found is not None
    return found


@pytest.mark.parametrize("pagination", [{"type": "cursor"}, {"type": "offset", "size": 5}])
def test_a_killed_job_goes_on_where_each_parent_was(lake, api, pagination):
    put_users(lake, 12)
    config = orders(api.url, pagination)
    before = killed(lake, config, api, 40)
    summary = run_pipeline(no_spark, config, days=[DAY], lake=lake)
    pages = 12 * api.pages
    assert before < pages
    assert sum(api.asked.values()) <= pages + 4 + 12, "what was in memory is asked again, and no more"
    assert summary.outcomes == {DAY: {"success": 12 * api.items}}
    assert landed(lake) == (12 * api.items, 12 * api.items)


def test_it_may_be_killed_many_times(lake, api):
    put_users(lake, 10)
    config = orders(api.url)
    for after in (13, 11, 17, 5, 19):
        killed(lake, config, api, after)
    summary = run_pipeline(no_spark, config, days=[DAY], lake=lake)
    assert summary.outcomes == {DAY: {"success": 10 * api.items}}
    assert landed(lake) == (10 * api.items, 10 * api.items)
    assert sum(api.asked.values()) <= 10 * api.pages + 6 * (4 + 12)


def test_where_the_api_forgot_the_place_that_parent_is_walked_anew(lake, api):
    put_users(lake, 4)
    config = orders(api.url)
    killed(lake, config, api, 15)
    api.forgets = True  # tokens of before
    summary = run_pipeline(no_spark, config, days=[DAY], lake=lake)
    assert summary.outcomes == {DAY: {"success": 4 * api.items}}
    assert landed(lake) == (4 * api.items, 4 * api.items)


def test_places_by_number_in_a_list_that_moves_are_not_gone_on_with(lake, api):
    from asgard_assets.ingest.api.plan.calendar import today

    put_users(lake, 4, today())
    config = orders(api.url, {"type": "offset", "size": 5}, kind="snapshot")
    api.dies_after = 15
    with pytest.MonkeyPatch.context() as patch, pytest.raises((Killed, BaseExceptionGroup)):
        patch.setattr("asgard_assets.ingest.api.http.transport.AiohttpTransport.send", api.dying(Killed))
        stage_source(no_spark, Run(lake, config, (today(),)))
    began: Counter[int] = Counter()
    api.began = began
    summary = run_pipeline(no_spark, config, days=[today()], lake=lake)
    assert summary.outcomes == {today(): {"success": 4 * api.items}}
    assert set(began.values()) == {1}
    assert len(began) >= 3, "only a list that was whole is kept"


@pytest.mark.slow
def test_what_a_process_had_is_gone_on_with_in_spark(spark, lake, api):
    put_users(lake, 12)
    config = orders(api.url)
    killed(lake, config, api, 40)
    summary = run_pipeline(spark, config, days=[DAY], lake=lake)
    assert summary.ran_in == "spark"
    assert sum(api.asked.values()) <= 12 * api.pages + 4 + 12
    assert landed(lake) == (12 * api.items, 12 * api.items)


# Cursors ---------------------------------------------------------------------------------------------------


def changes(url: str, **more: Any) -> ApiSource:
    rows = {"table": "bronze/users", "key": {"id": "bigint"}}
    form = {
        "type": "pull", "rows": rows, "items": "data", "pagination": {"type": "cursor"},
        "key": {"order": "bigint"}, "incremental": {"field": "at"},
    }  # fmt: skip
    endpoint = {
        "base_url": url, "path": "/customers/{row.id}/orders", "query": {"since": "{cursor.value|optional}"}
    }  # fmt: skip
    return orders(url, kind="changes", form=form, endpoint=endpoint, **more)


def test_each_parent_goes_on_from_its_own_cursor(lake, api):
    api.moments = {1: [3, 7], 2: [40], 3: []}
    put_users(lake, 3)
    first = run_pipeline(no_spark, changes(api.url), days=[DAY], lake=lake)
    assert (api.since, first.cursor) == ({1: None, 2: None, 3: None}, "3 parents")
    api.moments = {1: [3, 7, 9], 2: [40, 41], 3: [1], 4: [2]}
    put_users(lake, 4, "2026-10-06")
    second = run_pipeline(no_spark, changes(api.url), days=["2026-10-06"], lake=lake)
    assert api.since == {1: "7", 2: "40", 3: None, 4: None}
    assert second.outcomes == {"2026-10-06": {"success": 4}}
    put_users(lake, 4, "2026-10-07")
    run_pipeline(no_spark, changes(api.url), days=["2026-10-07"], lake=lake)
    assert api.since == {1: "9", 2: "41", 3: "1", 4: "2"}


def test_a_parent_that_failed_goes_on_from_where_it_began(lake, api):
    api.moments = {1: list(range(20)), 2: [40]}
    put_users(lake, 2)
    api.broken = {1}  # from its second page on
    config = changes(api.url, quality={"description": "Orders.", "min_success": 0.1})
    first = run_pipeline(no_spark, config, days=[DAY], lake=lake)
    assert (first.outcomes, first.cursor) == ({DAY: {"success": 6, "retryable": 1}}, "1 parents")
    api.broken = set()
    again = run_pipeline(no_spark, config, days=[DAY], lake=lake)
    assert (again.modes, api.since[1]) == ({DAY: "resume"}, None)
    assert again.outcomes == {DAY: {"success": 21}}
    put_users(lake, 2, "2026-10-06")
    run_pipeline(no_spark, config, days=["2026-10-06"], lake=lake)
    assert api.since == {1: "19", 2: "40"}, "the parent that was kept has its cursor still"


def test_a_day_that_is_walked_again_begins_where_it_began(lake, api):
    put_users(lake, 2)
    run_pipeline(no_spark, changes(api.url), days=[DAY], lake=lake)
    put_users(lake, 2, "2026-10-06")
    api.moments = {1: [100], 2: [200]}
    for _ in range(2):
        run_pipeline(no_spark, changes(api.url), days=["2026-10-06"], lake=lake)
        assert api.since == {1: "29", 2: "29"}


def test_a_killed_walk_of_changes_goes_on_with_the_cursor_that_it_began_with(lake, api):
    put_users(lake, 6)
    api.moments = {parent: [parent] for parent in range(1, 7)}
    config = changes(api.url)
    run_pipeline(no_spark, config, days=[DAY], lake=lake)
    api.moments = {}
    put_users(lake, 6, "2026-10-06")
    api.asked.clear()
    api.dies_after = 20
    with pytest.MonkeyPatch.context() as patch, pytest.raises((Killed, BaseExceptionGroup)):
        patch.setattr("asgard_assets.ingest.api.http.transport.AiohttpTransport.send", api.dying(Killed))
        stage_source(no_spark, Run(lake, config, ("2026-10-06",)))
    summary = run_pipeline(no_spark, config, days=["2026-10-06"], lake=lake)
    assert summary.outcomes == {"2026-10-06": {"success": sum(29 - parent for parent in range(1, 7))}}
    assert sum(api.asked.values()) <= 6 * api.pages + 4 + 12


# The notes themselves --------------------------------------------------------------------------------------


def note(parent: str, page: int, end: bool = False, void: bool = False) -> dict[str, Any]:
    state = None if void else {"page": None if end else {"number": page + 1}, "start": None}
    return {
        "row_key": parent,
        "first": page,
        "last": page,
        "ids": [f"{parent}{page}"],
        "rows": 2,
        "state": state,
    }


def test_pages_count_up_to_the_first_gap():
    found = chains({"00000-aaaaaaaa": [note("a", 0), note("a", 1), note("a", 3, end=True)]})
    assert (found["a"].last, found["a"].rows, found["a"].ended) == (1, 4, False)


def test_pages_of_an_earlier_run_and_of_one_try_make_a_chain_not_those_of_two_tries():
    left = {
        "row_key": "a",
        "first": 0,
        "last": 1,
        "ids": ["a0", "a1"],
        "rows": 4,
        "state": note("a", 1)["state"],
    }
    found = chains({"left": [left], "00000-aaaaaaaa": [note("a", 2)], "00000-bbbbbbbb": [note("a", 3)]})
    assert found["a"].pages == {"a0": "left", "a1": "left", "a2": "00000-aaaaaaaa"}


def test_a_list_that_is_read_a_second_time_has_no_place_to_go_on_from():
    told = [note("a", 0), note("a", 1, void=True), note("a", 0), note("a", 1, end=True)]
    assert chains({"00000-aaaaaaaa": told}) == {}


def test_a_walk_that_began_anew_leaves_out_what_was_taken_over():
    left = {
        "row_key": "a",
        "first": 0,
        "last": 1,
        "ids": ["a0", "a1"],
        "rows": 4,
        "state": note("a", 1)["state"],
    }
    told = [note("a", 0), note("a", 1), note("a", 2, end=True)]
    found = chains({"left": [left], "00000-aaaaaaaa": told})
    assert set(found["a"].pages.values()) == {"00000-aaaaaaaa"}
    assert found["a"].ended
