"""Asynchronous jobs: create, poll, download one or many files, clean up; and what a killed run had of them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from asgard_assets.ingest.api.lists.jobs import JobFailed, NotReady, created, downloaded, polled
from asgard_assets.ingest.api.lists.pagination import MalformedPage, Page
from asgard_assets.ingest.api.pipeline import run_pipeline, stage_source
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.source.decoders import AsyncJob
from asgard_assets.ingest.api.source.models import ApiSource
from tests.fakes.jobs_api import JobsApi
from tests.fakes.rest_api import serving
from tests.ingest.api.sources import put_users

DAY = "2026-10-05"
SOURCE = """
name: exports
form:
  type: pull
  key: {id: bigint}
  decode: {format: csv}
  job:
    id: data.id
    poll: {path: "/exports/{job.id}", status: state, message: error.text, every_seconds: 0.01}
    download: {urls: "files[*].url"}
    clean_up: {method: DELETE, path: "/exports/{job.id}"}
endpoint:
  base_url: ${JOBS_URL}
  path: /exports
  method: POST
  body: {day: "{partition.key}"}
sink: {table: bronze/exports}
quality: {description: Exports of a day.}
"""


@pytest.fixture
def api(monkeypatch):
    with serving(JobsApi()) as server:
        monkeypatch.setenv("JOBS_URL", server.url)
        yield server


def exports(**job: Any) -> ApiSource:
    told = yaml.safe_load(SOURCE) | {"retry": {"attempts": 1}}
    told["form"]["job"] |= job
    return ApiSource.model_validate(told)


def no_spark() -> Any:
    pytest.fail("a Spark session was opened")


def test_a_job_is_made_asked_for_read_and_removed(lake, api):
    summary = run_pipeline(no_spark, exports(), days=[DAY], lake=lake)
    assert summary.outcomes == {DAY: {"success": 30}}
    polls = ["poll job1"] * 3
    assert api.calls == ["create", *polls, *(f"file job1 {n}" for n in range(3)), "delete job1"]
    with lake.connect() as connection:
        found = connection.execute(
            "select count(distinct id), count(distinct request_id) from bronze.exports"
        )
        assert found.fetchone() == (30, 3)


def test_the_same_day_again_makes_a_job_of_its_own_and_the_same_rows(lake, api):
    ids = []
    for _ in range(2):
        run_pipeline(no_spark, exports(), days=[DAY], lake=lake)
        with lake.connect() as connection:
            ids.append(connection.execute("select request_id, id from bronze.exports order by 2").fetchall())
    assert sorted(api.keys.values()) == ["job1", "job2"]
    assert ids[0] == ids[1]


def test_a_job_that_failed_is_a_row_with_the_api_s_words(lake, api):
    api.state = "FAILED"
    summary = run_pipeline(no_spark, exports(), days=[DAY], lake=lake)
    assert summary.version is None
    assert summary.failures[0]["error"] == "the job is `FAILED`: too large"
    assert summary.failures[0]["outcome"] == "retryable"
    api.state = "COMPLETED"
    assert run_pipeline(no_spark, exports(), days=[DAY], lake=lake).outcomes == {DAY: {"success": 30}}
    assert api.calls.count("create") == 2, "a job that failed is not asked for again"


def test_a_job_that_takes_too_long_is_asked_for_by_the_next_run(lake, api):
    api.polls = 10**6
    poll = {"path": "/exports/{job.id}", "status": "state", "every_seconds": 0.01, "deadline_seconds": 0.1}
    summary = run_pipeline(no_spark, exports(poll=poll), days=[DAY], lake=lake)
    assert summary.failures[0]["error"].startswith("the job is `RUNNING` after 0.1 s")
    api.polls = 0
    run_pipeline(no_spark, exports(poll=poll), days=[DAY], lake=lake)
    assert api.calls.count("create") == 1, "the job is the same"
    with lake.connect() as connection:
        assert connection.execute("select count(distinct id) from bronze.exports").fetchone() == (30,)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(("at", "creates"), [("poll", 1), ("file job1 1", 1), ("file job1 0", 1)])
def test_a_killed_run_leaves_a_job_that_the_next_goes_on_with(lake, api, at, creates):
    once = []

    def dying() -> Any:
        from asgard_assets.ingest.api.http.transport import AiohttpTransport

        send = AiohttpTransport.send

        async def wrapped(client: Any, request: Any) -> Any:
            answer = await send(client, request)
            if api.calls[-1].startswith(at) and not once:
                once.append(at)
                raise Killed
            return answer

        return wrapped

    with pytest.MonkeyPatch.context() as patch, pytest.raises((Killed, BaseExceptionGroup)):
        patch.setattr("asgard_assets.ingest.api.http.transport.AiohttpTransport.send", dying())
        stage_source(no_spark, Run(lake, exports(), (DAY,)))
    summary = run_pipeline(no_spark, exports(), days=[DAY], lake=lake)
    assert summary.outcomes == {DAY: {"success": 30}}
    assert api.calls.count("create") == creates


def test_where_the_result_is_gone_another_job_is_made(lake, api):
    api.polls = 10**6
    poll = {"path": "/exports/{job.id}", "status": "state", "every_seconds": 0.01, "deadline_seconds": 0.05}
    run_pipeline(no_spark, exports(poll=poll), days=[DAY], lake=lake)
    api.polls = 0
    api.jobs.clear()  # the API forgot it: 404
    summary = run_pipeline(no_spark, exports(poll=poll), days=[DAY], lake=lake)
    assert summary.outcomes == {DAY: {"success": 30}}
    assert api.calls.count("create") == 2


def test_a_job_for_each_parent(lake, api):
    put_users(lake, 3)
    told = yaml.safe_load(SOURCE)
    query = "select id as user from bronze.users"
    told["form"]["rows"] = {"query": query, "reads": ["bronze/users"], "key": {"user": "bigint"}}
    told["endpoint"]["body"] = {"user": "{row.user}"}
    summary = run_pipeline(no_spark, ApiSource.model_validate(told), days=[DAY], lake=lake)
    assert summary.outcomes == {DAY: {"success": 90}}
    assert sorted(api.keys.values()) == ["job1", "job2", "job3"]


def test_a_result_at_a_path_that_is_there_at_once(lake, api):
    job = {"poll": None, "download": {"path": "/exports/{job.id}/result"}, "clean_up": None}
    told = exports(**job).model_dump(mode="json")
    told["form"]["decode"] = {}
    summary = run_pipeline(no_spark, ApiSource.model_validate(told), days=[DAY], lake=lake)
    assert (summary.outcomes, api.calls) == ({DAY: {"success": 2}}, ["create", "result job1"])


def test_files_of_a_job_are_read_piece_by_piece(lake, api):
    told = exports().model_dump(mode="json")
    told["form"]["decode"] = {"format": "csv", "stream": True}
    assert run_pipeline(no_spark, ApiSource.model_validate(told), days=[DAY], lake=lake).outcomes == {
        DAY: {"success": 30}
    }


@pytest.mark.slow
def test_jobs_in_spark(spark, lake, api):
    assert run_pipeline(spark, exports(), days=[DAY], lake=lake).outcomes == {DAY: {"success": 30}}


# Pure ------------------------------------------------------------------------------------------------------


def job(**changes: Any) -> AsyncJob:
    return AsyncJob.model_validate({"id": "id", "poll": {"path": "/x/{job.id}", "status": "state"}} | changes)


def test_an_id_may_stand_in_a_header():
    page = created(job(id="header:X-Job"), Page(step="create"), "http://a", {"x-job": "7"}, b"")
    assert page is not None and page.job == {"id": "7"}


@pytest.mark.parametrize(
    ("state", "error"), [("Queued", NotReady), ("ERROR", JobFailed), (None, MalformedPage)]
)
def test_states(state, error):
    body = b"{}" if state is None else f'{{"state": "{state}"}}'.encode()
    with pytest.raises(error):
        polled(job(), Page(1, step="poll"), "http://a", 200, body)


def test_without_a_state_the_status_says_it():
    one = job(poll={"path": "/x/{job.id}"})
    with pytest.raises(NotReady):
        polled(one, Page(1, step="poll"), "http://a", 202, b"")
    assert polled(one, Page(1, step="poll"), "http://a", 200, b"") == Page(2, step="download")


@pytest.mark.parametrize(
    "body", [b'{"state": "done", "url": "/a b.csv"}', b'{"state": "done", "url": ["/a b.csv", "http://c/d"]}']
)
def test_addresses_are_of_the_answer_s_origin_and_encoded(body):
    page = polled(job(download={"urls": "url"}), Page(1, step="poll"), "http://a/x/1", 200, body)
    assert page is not None and page.url == "http://a/a%20b.csv"
    after = downloaded(page)
    assert after is None or after.url == "http://c/d"


def test_no_file_is_no_item():
    assert (
        polled(
            job(download={"urls": "files"}),
            Page(1, step="poll"),
            "http://a",
            200,
            b'{"state": "done", "files": []}',
        )
        is None
    )
