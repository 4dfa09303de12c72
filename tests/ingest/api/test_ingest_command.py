"""`asgard run FILE` as a user runs it: its own process and Spark session, a real server, rows from a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asgard_assets.lake import Lake
from tests.checkout import ROOT
from tests.fakes.rest_api import TOKEN, serving

SOURCE = """
name: usage
endpoint: {{base_url: "{url}", path: "/v1/users/{{row.id}}/usage", query: {{date: "{{partition.key}}"}}}}
form: {{type: row, rows: {{key: {{id: bigint}}}}}}
auth: {{type: bearer, token: "env:API_TOKEN"}}
sink: {{table: bronze/usage}}
quality: {{description: Usage of a day.}}
"""
DAY = "2026-10-05"


@pytest.mark.servers
def test_the_command_publishes_a_day_tells_its_figures_and_refuses_to_shorten_it(lake: Lake, tmp_path: Path):
    rows, config = tmp_path / "users.csv", tmp_path / "usage.yaml"
    rows.write_text("id\n" + "\n".join(map(str, range(1, 41))))
    with serving() as api:
        api.status = {7: [404]}
        config.write_text(SOURCE.format(url=api.url))

        def ingest(*options: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "asgard_assets.cli", "run", str(config), "--rows", str(rows)]
            environment = os.environ | {"API_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
            return subprocess.run(
                [*command, "--partitions", DAY, *options], env=environment, capture_output=True, text=True
            )

        dry = ingest("--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert not api.requests and lake.tables() == []

        done = ingest("--output", "json")
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert figures["requests"] == sum(api.requests.values()) == 40
        assert TOKEN not in done.stdout + done.stderr
        assert (figures["ran_in"], figures["why"]) == ("process", "40 requests, no more than 20,000")

        counts = lake.connect().execute("select outcome, count(*) from bronze.usage group by 1").fetchall()
        assert dict(counts) == {"success": 39, "permanent": 1}

        short = ingest("--limit", "5")
        assert short.returncode == 1 and "a limit would replace it by a part" in short.stderr
        assert sum(api.requests.values()) == 40
