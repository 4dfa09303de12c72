"""Cursors of API sources: shown, set, reset, and asked from once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
import yaml
from aiohttp import web
from typer.testing import CliRunner

from asgard_assets.cli import app
from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake
from asgard_assets.operations import cursors, sources
from asgard_assets.settings import Settings
from tests.fakes.rest_api import RestApi, serving

FIRST, SECOND = "2026-10-05", "2026-10-06"


class Changes(RestApi):
    """`GET /items?since=` gives what changed after a moment; `asked` is what was asked."""

    asked: list[str]
    rows: int = 3
    late: Sequence[str] = ()  # moments of rows that come too late

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/items", self._items)
        app.router.add_get("/delta", self._delta)
        self.asked = []
        return app

    async def _delta(self, request: web.Request) -> web.Response:
        self.asked.append(request.query.get("token", "nothing"))
        token = int(request.query.get("token", "0"))
        rows = [{"id": n} for n in range(token, token + 2)]
        return web.json_response({"data": rows, "@odata.deltaLink": f"{self.url}/delta?token={token + 2}"})

    async def _items(self, request: web.Request) -> web.Response:
        since = request.query.get("since", "nothing")
        self.asked.append(since)
        rows = [{"id": n, "at": f"2026-10-05T10:00:{n:02d}Z"} for n in range(1, self.rows + 1)]
        rows += [{"id": 101 + n, "at": at} for n, at in enumerate(self.late)]
        return web.json_response({"data": [row for row in rows if row["at"] > since or since == "nothing"]})


@pytest.fixture
def api() -> Iterator[Changes]:
    with serving(Changes()) as server:
        yield server


def document(api: Changes, **incremental: object) -> dict:
    return {
        "name": "changes",
        "kind": "changes",
        "form": {
            "type": "pull",
            "items": "data",
            "key": {"id": "bigint"},
            "incremental": {"field": "at"} | incremental,
        },
        "endpoint": {"base_url": api.url, "path": "/items", "query": {"since": "{cursor.value|optional}"}},
        "auth": {"type": "bearer", "token": "env:NOBODY_SETS_THIS"},
        "sink": {"table": "bronze/changes"},
        "quality": {"description": "Changes."},
    }


def source(api: Changes, **incremental: object) -> ApiSource:
    return ApiSource.model_validate(document(api, **incremental) | {"auth": {"type": "none"}})


def run(lake: Lake, config: ApiSource, day: str, **how: object):
    return run_pipeline(
        lambda: pytest.fail("a Spark session was opened"), config, days=[day], lake=lake, **how
    )


def test_a_cursor_is_shown_set_and_reset(lake, api):
    config = source(api, overlap_seconds=1)
    before = cursors.state(lake, config)
    assert (before.cursor, before.came_from, before.ds) == ("", "start", None)
    run(lake, config, FIRST)
    assert api.asked == ["nothing"], "the first run has no cursor, and sends none"
    stands = cursors.state(lake, config)
    assert (stands.cursor, stands.sent) == ("2026-10-05T10:00:03Z", "2026-10-05T10:00:02Z")
    assert (stands.came_from, stands.ds) == ("run", FIRST)
    assert cursors.set_state(lake, config, "2026-10-05T10:00:01Z").came_from == "set"
    assert run(lake, config, SECOND).rows == 3
    assert api.asked[-1] == "2026-10-05T10:00:00Z", "less the overlap"
    assert cursors.state(lake, config).cursor == "2026-10-05T10:00:03Z"
    assert cursors.reset_state(lake, config).cursor == ""
    assert run(lake, config, FIRST).rows == 3, "a reset source may begin with an earlier day"
    assert api.asked[-1] == "nothing"
    assert [run["ds"] for run in cursors.state(lake, config).history] == [FIRST, SECOND, FIRST]


def test_a_run_from_a_given_cursor_is_once_and_the_kept_one_does_not_fall_behind(lake, api):
    config = source(api, overlap_seconds=0)
    run(lake, config, FIRST)
    api.rows = 1
    assert run(lake, config, SECOND, cursor="2026-10-05T10:00:00Z").rows == 1
    assert api.asked[-1] == "2026-10-05T10:00:00Z"
    assert cursors.state(lake, config).cursor == "2026-10-05T10:00:03Z"
    api.rows = 5
    run(lake, config, "2026-10-07")
    assert api.asked[-1] == "2026-10-05T10:00:03Z"


def test_a_time_is_asked_from_a_minute_before_on_and_what_did_not_change_is_left_out(lake, api):
    config = source(api)
    run(lake, config, FIRST)
    api.rows, api.late = 5, ["2026-10-05T10:00:03Z", "2026-10-05T10:00:01Z"]
    second = run(lake, config, SECOND)
    assert api.asked[-1] == "2026-10-05T09:59:03Z"
    assert cursors.state(lake, config).sent == "2026-10-05T09:59:05Z"
    with lake.connect(tables=["bronze/changes"]) as connection:
        rows = connection.execute("select ds, id from bronze.changes order by ds, id").fetchall()
    assert rows == [(FIRST, n) for n in (1, 2, 3)] + [(SECOND, n) for n in (4, 5, 101, 102)]
    assert (second.rows, second.notes[0].split(" ")[0]) == (4, "3")
    run(lake, config, SECOND)
    assert run(lake, config, "2026-10-07").rows == 0, "a published day was asked again from where it began"
    assert run(lake, config, FIRST).rows == 7, "the first run of all has no cursor, and nothing before it"


def test_a_cursor_that_a_person_set_is_sent_as_it_is(lake, api):
    config = source(api)
    cursors.set_state(lake, config, "2026-10-05T10:00:02Z")
    assert run(lake, config, FIRST).rows == 1
    assert api.asked == ["2026-10-05T10:00:02Z"]


def test_a_cursor_that_would_lose_rows_of_a_day_is_refused(lake, api):
    config = source(api)
    run(lake, config, FIRST, cursor="2026-10-05T10:00:01Z")
    with pytest.raises(ConfigError, match="fewer rows"):
        run(lake, config, FIRST, cursor="2026-10-05T10:00:02Z")
    assert cursors.state(lake, config).cursor == "2026-10-05T10:00:03Z"


def test_a_run_that_is_not_published_leaves_the_set_cursor(lake, api):
    config = source(api)
    cursors.set_state(lake, config, "2026-10-05T10:00:02Z")
    api.rows = 3
    broken = config.model_copy(update={"form": config.form.model_copy(update={"items": "nowhere"})})
    assert run(lake, broken, FIRST).bad_days
    assert cursors.state(lake, config).cursor == "2026-10-05T10:00:02Z"


def test_a_run_begins_at_the_address_that_the_last_one_was_given(lake, api):
    told = document(api) | {"auth": {"type": "none"}}
    told["form"] |= {"incremental": {"body": "@odata.deltaLink", "address": True}}
    told["endpoint"] = {"base_url": api.url, "path": "/delta"}
    config = ApiSource.model_validate(told)
    for day in (FIRST, SECOND):
        assert run(lake, config, day).rows == 2
    assert api.asked == ["nothing", "2"]
    assert cursors.state(lake, config).cursor == f"{api.url}/delta?token=4"
    cursors.set_state(lake, config, "https://elsewhere.example/delta?token=4")
    with pytest.raises(SourceError, match="another origin"):
        run(lake, config, "2026-10-07")


def test_a_source_without_a_cursor_says_so(lake, api):
    plain = document(api) | {"kind": "events", "auth": {"type": "none"}}
    plain["form"] = {"type": "pull", "items": "data"}
    plain["endpoint"] = {"base_url": api.url, "path": "/items"}
    config = ApiSource.model_validate(plain)
    with pytest.raises(ConfigError, match=r"form\.incremental"):
        cursors.state(lake, config)
    with pytest.raises(ConfigError, match=r"form\.incremental"):
        run(lake, config, FIRST, cursor="5")


def test_the_commands_take_a_file_or_a_name(lake, api, tmp_path, monkeypatch):
    monkeypatch.setenv("ASGARD_LAKE", lake.root)
    assert Settings().lake_root == lake.root
    path = Path(tmp_path, "changes.yaml")
    path.write_text(yaml.safe_dump(document(api) | {"auth": {"type": "none"}}))
    call = CliRunner().invoke
    done = call(app, ["run", str(path), "--partitions", FIRST, "--cursor", "2026-10-05T10:00:01Z"])
    assert done.exit_code == 0, done.output
    assert "ran from the cursor 2026-10-05T10:00:01Z, once" in done.output
    model = ApiIngestModel.model_validate({"source": document(api)})
    resources = dict.fromkeys(("lake", "spark", "step_launcher"))
    definitions = dg.Definitions(assets=[api_asset(model)], resources=resources)
    monkeypatch.setattr(sources, "load_definitions", lambda: definitions)
    told = json.loads(call(app, ["state", "changes", "--output", "json"]).output)
    assert (told["cursor"], told["ds"]) == ("2026-10-05T10:00:03Z", FIRST)
    assert "set by hand" in call(app, ["state", "changes", "--set", "7"]).output
    assert "cursor none (incremental.start" not in call(app, ["state", str(path)]).output
    assert "NOBODY_SETS_THIS" not in str(definitions.resolve_all_asset_specs()[0].metadata)
    wrong = call(app, ["state", "changed"])
    assert "the project has changes" in str(wrong.exception)
