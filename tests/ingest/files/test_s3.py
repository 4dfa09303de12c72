"""The same promises with landing and lake on a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import Landing, s3_client, walk
from asgard_assets.ingest.files.listing import file_states, scan
from asgard_assets.ingest.files.plans import write_once
from asgard_assets.lake import Lake
from asgard_assets.settings import ROOT
from tests.ingest.files.bench import DAYS
from tests.ingest.files.loader_process import SOURCE
from tests.servers.s3 import s3

pytestmark = pytest.mark.servers


def load(tmp_path: Path, env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "tests.ingest.files.loader_process", *DAYS]
    merged = {**os.environ, **env, "ASGARD_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=merged, cwd=ROOT, check=True, capture_output=True)


def test_files_on_s3_are_listed_loaded_replaced_and_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3(tmp_path / "s3", "lake", "landing") as server:
        env = server.environment | {"ASGARD_LAKE": "s3://lake/tables", "ASGARD_LANDING": "s3://landing/in"}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        s3_client.cache_clear()
        client = s3_client(server.endpoint, server.region)
        lake = Lake("s3://lake/tables", server.endpoint)
        landing = Landing("s3://landing/in", server.endpoint)
        with pytest.raises(SourceError, match="does not exist"):
            list(walk(landing, SOURCE))

        def put(day: str, name: str, body: str) -> None:
            client.put_object(Bucket="landing", Key=f"in/invoices/ds={day}/{name}", Body=body.encode())

        for n in range(1_005):
            put(DAYS[n % 2], f"{n:04}.jsonl", f'{{"id": {n}}}\n')
        put(DAYS[2], "naïve name & 😀.csv", "id\nx\nragged,1\n")
        put(DAYS[2], ".hidden.csv", "id\nx\n")
        names = [file.path for file in walk(landing, SOURCE)]
        assert names == sorted(names, key=lambda name: name.encode())
        assert len(names) == 1_006
        assert [f.path for f in walk(landing, SOURCE, after=names[600])] == names[601:]
        assert {f.path for f in walk(landing, SOURCE, days={DAYS[2]})} == {names[-1]}

        load(tmp_path, env)
        rows = "select count(*), count(distinct id) from bronze.invoices"
        assert lake.connect().execute(rows).fetchall() == [(1_006, 1_006)]
        assert lake.connect().execute("select row, raw from quarantine.invoices").fetchall() == [
            (1, "ragged,1")
        ]
        assert scan(lake, landing, SOURCE).todo == {}
        put(DAYS[0], "0000.jsonl", '{"id": "new"}\n')
        put(DAYS[0], "0002.jsonl", '{"id": 2}\n')  # the same content once more: no change
        found = scan(lake, landing, SOURCE)
        assert [f.path for f in found.todo[DAYS[0]]] == [f"invoices/ds={DAYS[0]}/0000.jsonl"]
        client.delete_object(Bucket="landing", Key=f"in/invoices/ds={DAYS[1]}/0001.jsonl")
        load(tmp_path, env)
        ids = "select id from bronze.invoices where id in ('0', '1', '2', 'new') order by id"
        assert lake.connect().execute(ids).fetchall() == [("1",), ("2",), ("new",)]
        assert {s.state for s in file_states(lake, landing, SOURCE)} == {"loaded", "deleted"}
        assert write_once(lake, "lake/tables/once", b"1")
        assert not write_once(lake, "lake/tables/once", b"2")
    s3_client.cache_clear()
