"""Answers recorded from a real server, and replayed where there is none."""

from __future__ import annotations

import json

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.pipeline import run_pipeline
from tests.fakes.rest_api import TOKEN, serving
from tests.ingest.api.sources import USAGE, put_users, source

DAY = "2026-10-05"


def recorded(folder, how):
    return source(USAGE, transport={how: str(folder)})


@pytest.mark.slow
def test_a_recording_is_replayed_without_server_or_secret(spark, lake, tmp_path, monkeypatch):
    put_users(lake, 6)
    folder = tmp_path / "recording"
    with serving() as api:
        monkeypatch.setenv("TEST_API", api.url)
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        api.echo, api.status = True, {2: [503], 3: [404]}
        first = run_pipeline(spark, recorded(folder, "record"), days=[DAY], lake=lake)
        with pytest.raises(ConfigError, match="holds a recording already"):
            run_pipeline(spark, recorded(folder, "record"), days=[DAY], lake=lake)
    assert first.by_outcome == {"success": 5, "permanent": 1}
    texts = [path.read_text() for path in folder.rglob("*.json*")]
    assert any("you_sent" in text for text in texts)
    assert all(TOKEN not in text for text in texts)

    with lake.connect() as connection:
        query = "select user_id, body, status_code, outcome, url from bronze.usage order by user_id"
        before = connection.execute(query).fetchall()
    monkeypatch.delenv("TEST_API")
    monkeypatch.delenv("TEST_TOKEN")
    again = run_pipeline(spark, recorded(folder, "replay"), days=[DAY], mode="refresh", lake=lake)
    assert (again.by_outcome, again.requests, again.retries) == (first.by_outcome, 0, first.retries)
    with lake.connect() as connection:
        assert connection.execute(query).fetchall() == before

    put_users(lake, 7)
    more = run_pipeline(spark, recorded(folder, "replay"), days=[DAY], mode="refresh", lake=lake)
    assert more.by_outcome == {"success": 5, "permanent": 2}
    assert any("is not in the recording" in failure["error"] for failure in more.failures)
    assert json.loads((folder / "recording.json").read_text())["source"] == "usage"
