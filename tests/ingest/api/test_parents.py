"""A list for each parent row: pages, columns of the parent, failures, and what a resume asks again."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from asgard_assets.ingest.api.http.messages import Refused
from asgard_assets.ingest.api.pipeline import run_pipeline, stage_source
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.preview import preview
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.worker import run_files
from asgard_assets.lake import Lake
from tests.fakes.lists_api import ListsApi
from tests.fakes.rest_api import serving
from tests.ingest.api.sources import put_users

DAY = "2026-10-05"


@pytest.fixture
def api():
    with serving(ListsApi()) as server:
        yield server


def orders(url, form=None, **changes):
    rows = {"query": "select id as customer from bronze.users where ds = $ds", "reads": ["bronze/users"],
            "key": {"customer": "bigint"}}  # fmt: skip
    return ApiSource.model_validate(
        {
            "name": "orders",
            "form": {"type": "pull", "rows": rows, "pagination": {"type": "link"}, "key": {"id": "bigint"}}
            | (form or {}),
            "endpoint": {"base_url": url, "path": "/customers/{row.customer}/orders"},
            "retry": {"attempts": 2, "backoff_seconds": 0.01},
            "sink": {"table": "bronze/orders"},
            "quality": {"description": "Orders of each customer.", "min_success": 0.1},
        }
        | changes
    )


def test_each_parent_has_its_own_pages_and_its_key_in_every_row(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 3, DAY)
    found = preview(lake, orders(api.url), DAY, count=10).rows
    assert {(row["customer"], row["id"]) for row in found} == {
        (c, n) for c in (1, 2, 3) for n in range(1, 26)
    }
    assert len({(row["request_id"], row["item_index"]) for row in found}) == 75
    assert len(api.calls) == 9


def test_a_parent_that_fails_is_a_row_with_a_reason(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 4, DAY)
    found = preview(lake, orders(api.url), DAY, count=10).rows
    (failed,) = [row for row in found if not row["success"]]
    assert (failed["customer"], failed["outcome"], failed["error_message"]) == (4, "permanent", "status 404")
    nothing = orders(api.url, answers={"rules": [{"status": 404, "means": "empty"}]})
    assert all(row["success"] for row in preview(lake, nothing, DAY, count=10).rows)


def test_a_row_whose_answer_has_a_next_page_says_so(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 1, DAY)
    rows = {
        "query": "select id as customer from bronze.users",
        "reads": ["bronze/users"],
        "key": {"customer": "bigint"},
    }
    source = orders(api.url, {})
    source = ApiSource.model_validate(
        source.model_dump(mode="json") | {"form": {"type": "row", "rows": rows}}
    )
    (row,) = preview(lake, source, DAY).rows
    assert row["success"]
    assert row["error_class"] == "MorePages"


def test_keys_of_parents_and_items_may_not_have_one_name(api):
    rows = {"query": "select 1 as id", "reads": ["bronze/users"], "key": {"id": "bigint"}}
    with pytest.raises(ValidationError, match="rename the parents' column"):
        orders(api.url, {"rows": rows}, endpoint={"base_url": api.url, "path": "/customers/{row.id}/orders"})


def test_a_resume_walks_only_the_parents_that_failed(spark, tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 3, DAY)
    api.status = {2: [503, 503]}
    first = run_pipeline(spark, orders(api.url), days=[DAY], lake=lake)
    assert first.version is not None
    assert first.outcomes[DAY] == {"success": 60, "retryable": 1}
    api.calls.clear()
    second = run_pipeline(spark, orders(api.url), days=[DAY], lake=lake)
    assert second.modes[DAY] == "resume"
    assert {call.split("/")[2] for call in api.calls} == {"2"}
    assert second.outcomes[DAY] == {"success": 75}
    with lake.connect() as connection:
        told = connection.execute(
            "select count(*), count(distinct (customer, id)) from bronze.orders"
        ).fetchone()
    assert told == (75, 75)


def test_a_parent_that_broke_off_on_a_published_day_goes_on_where_it_was(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 3, DAY)
    api.status = {2: [503, 503]}  # the second page
    first = run_pipeline(no_spark, orders(api.url), days=[DAY], lake=lake)
    assert first.version is not None
    assert first.outcomes[DAY] == {"success": 60, "retryable": 1}
    for failing, asked in (([503, 503], ["page=2"] * 2), ([], ["page=2", "page=3"])):
        api.calls.clear()
        api.status = {2: failing}
        again = run_pipeline(no_spark, orders(api.url), days=[DAY], lake=lake)
        assert [call.partition("?")[2] for call in api.calls] == asked
    assert again.outcomes[DAY] == {"success": 75}
    with lake.connect() as connection:
        told = connection.execute(
            "select count(*), count(distinct (customer, id)), bool_and(success) from bronze.orders"
        )
        assert told.fetchone() == (75, 75, True)
    api.calls.clear()
    run_pipeline(no_spark, orders(api.url), days=[DAY], lake=lake)
    assert len(api.calls) == 9, "a whole day is asked for anew"


def test_chosen_columns_of_the_parent_stand_in_every_row(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 4, DAY)
    rows = {"query": "select id as customer, 'c' || id as name, 1.5 * id as weight from bronze.users",
            "reads": ["bronze/users"], "key": {"customer": "bigint"},
            "carry": {"name": "string", "weight": "double"}}  # fmt: skip
    run_pipeline(no_spark, orders(api.url, {"rows": rows}), days=[DAY], lake=lake)
    with lake.connect() as connection:
        found = connection.execute(
            "select distinct customer, name, weight from bronze.orders order by 1"
        ).fetchall()
    assert found == [(1, "c1", 1.5), (2, "c2", 3.0), (3, "c3", 4.5), (4, "c4", 6.0)], (
        "the one that failed too"
    )


def test_what_is_only_carried_does_not_change_what_is_asked(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 2, DAY)
    ids = []
    for name in ("'a'", "'b'", "unnest(['c', 'd'])"):
        rows = {"query": f"select id as customer, {name} as name from bronze.users", "reads": ["bronze/users"],
                "key": {"customer": "bigint"}, "carry": {"name": "string"}}  # fmt: skip
        found = preview(lake, orders(api.url, {"rows": rows}), DAY, count=10).rows
        ids.append(sorted((row["request_id"], row["item_index"]) for row in found))
    assert ids[0] == ids[1] == ids[2]


def test_items_of_one_source_are_the_parents_of_another(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    api.status = {2: [503, 503]}
    put_users(lake, 3, DAY)
    run_pipeline(no_spark, orders(api.url), days=[DAY], lake=lake)  # one parent failed
    rows = {"table": "bronze/orders", "key": {"customer": "bigint"}}
    source = orders(api.url, {"rows": rows}, name="more", sink={"table": "bronze/more"})
    summary = run_pipeline(no_spark, source, days=[DAY], lake=lake)
    assert summary.outcomes == {DAY: {"success": 75}}


def no_spark():
    pytest.fail("a Spark session was opened")


def in_turn(count):
    """Outcomes of so many parents: three pages with 25 items each, but customer 4 has none."""
    return {"success": 25 * (count - 1), "permanent": 1}


def test_lists_of_a_few_parents_need_no_spark(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 300, DAY)  # more than there are files of the plan
    summary = run_pipeline(no_spark, orders(api.url), days=[DAY], lake=lake)
    assert (summary.ran_in, summary.why) == ("process", "898 requests, no more than 20,000")
    assert summary.outcomes == {DAY: in_turn(300)}
    assert len(api.calls) == 898


def test_lists_of_many_parents_stay_in_the_process_where_the_source_says_so(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 20, DAY)
    run = Run(lake, orders(api.url, execution={"run_in": "process"}), (DAY,), process_requests=1)
    assert stage_source(no_spark, run).summary.outcomes == {DAY: in_turn(20)}


def test_as_many_parents_are_walked_side_by_side_as_the_limits_allow(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 100, DAY)
    api.together = 30  # an answer waits until so many others are asked for
    summary = run_pipeline(no_spark, orders(api.url), days=[DAY], lake=lake)
    assert summary.outcomes == {DAY: in_turn(100)}
    assert summary.max_in_flight >= 30


@pytest.mark.slow
def test_lists_that_have_not_begun_go_to_spark_when_the_job_has_grown(spark, tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 300, DAY)
    staged = stage_source(lambda: spark, Run(lake, orders(api.url), (DAY,), process_requests=300))
    # 300 parents are a hundred files of three; three rounds of files are sent before it shows.
    assert staged.summary.ran_in == "process, then spark"
    assert staged.summary.outcomes == {DAY: in_turn(300)}
    assert staged.summary.requests == len(api.calls) == 898
    sent = int(staged.summary.why.partition(" ")[0])
    assert 300 < sent < 600, staged.summary.why


@pytest.mark.slow
def test_more_parents_than_requests_that_a_process_sends_are_for_spark(spark, tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 21, DAY)
    staged = stage_source(lambda: spark, Run(lake, orders(api.url), (DAY,), process_requests=20))
    assert (staged.summary.ran_in, staged.summary.why) == ("spark", "21 walks, more than 20")
    assert staged.summary.outcomes == {DAY: in_turn(21)}


def test_parents_that_refuse_do_not_end_a_job_in_which_others_answered(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 60, DAY)
    api.refused = frozenset(range(20, 60))
    summary = run_pipeline(no_spark, orders(api.url, execution={"breaker": 5}), days=[DAY], lake=lake)
    assert summary.outcomes == {DAY: {"success": 25 * 19, "permanent": 41}}


def test_refused_credentials_end_a_job_of_lists_at_once(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 60, DAY)
    api.refused = frozenset(range(1, 61))
    source = orders(api.url, execution={"breaker": 5}, limits={"max_in_flight": 1})
    with pytest.raises(Refused, match="403"):
        run_pipeline(no_spark, source, days=[DAY], lake=lake)
    assert len(api.calls) == 5


def test_a_task_that_is_tried_again_walks_all_its_parents_again(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 4, DAY)
    first = []

    def again(job, files, label, **_):
        first.append(run_files(job, files, label).files)  # a try whose end the driver never hears of
        return run_files(job, files, label, True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asgard_assets.ingest.api.execution.run_files", again)
        summary = run_pipeline(no_spark, orders(api.url), days=[DAY], lake=lake)
    assert first[0]
    assert summary.outcomes == {DAY: in_turn(4)}
    with lake.connect() as connection:
        told = connection.execute(
            "select count(*), count(distinct (customer, id)) from bronze.orders"
        ).fetchone()
    assert told == (76, 76), "75 items, and the failure"
