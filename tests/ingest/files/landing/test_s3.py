"""The same promises with landing and lake on a real S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.file_sensor import file_sensor
from asgard_assets.components.files import file_asset
from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.clean import clean
from asgard_assets.ingest.files.landing.area import File, Landing, walk
from asgard_assets.ingest.files.plan.listing import FileState, file_states, scan
from asgard_assets.ingest.files.plan.load_plan import write_plan
from asgard_assets.ingest.files.source.models import Clean, FromQueue
from asgard_assets.lake import Lake
from asgard_assets.lake.s3.client import s3_client
from asgard_assets.resources.environment import resources
from tests.checkout import ROOT
from tests.fakes.receiver import receiving
from tests.ingest.files.bench import DAYS
from tests.ingest.files.loader_process import SOURCE
from tests.patience import patience
from tests.servers.s3 import s3
from tests.servers.sqs import queue

pytestmark = pytest.mark.servers


@contextmanager
def store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: str = "", port: int = 0
) -> Iterator[tuple[Lake, Landing, Any]]:
    """Lake and landing on a server of their own, and a client of it."""
    with s3(tmp_path / "s3", "lake", "landing", events=events, port=port) as server:
        for name, value in (
            server.environment | {"ASGARD_LAKE": "s3://lake/tables", "ASGARD_LANDING": "s3://landing/in"}
        ).items():
            monkeypatch.setenv(name, value)
        client = s3_client(server.endpoint, server.region)
        yield Lake("s3://lake/tables", server.endpoint), Landing("s3://landing/in", server.endpoint), client


def know(lake: Lake, files: list[File]) -> None:
    """Commit files as a load does."""
    import pyarrow as pa

    plan = write_plan(lake, "invoices", {DAYS[0]: 0}, {DAYS[0]: files})
    staging = lake.stage(
        "bronze", "invoices", pa.schema([("id", pa.string()), ("ds", pa.string())]), DAYS[:1]
    )
    lake.publish(staging, plans=plan.transactions)


def keys(client: Any, prefix: str = "") -> list[str]:
    return [o["Key"] for o in client.list_objects_v2(Bucket="landing", Prefix=prefix).get("Contents", ())]


@pytest.mark.parametrize("action", ["move", "delete"])
def test_loaded_files_on_s3_are_cleared_away_after_some_days_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    source = SOURCE.model_copy(update={"clean": Clean.model_validate({"action": action, "after_days": 30})})
    with store(tmp_path, monkeypatch) as (lake, landing, client):
        folder = f"in/invoices/ds={DAYS[0]}"

        def put(name: str, body: str) -> None:
            client.put_object(Bucket="landing", Key=f"{folder}/{name}", Body=body.encode())

        for name in ("ö a+b.csv", "changed.csv", "raced.csv"):
            put(name, "id\n1\n")
        know(lake, list(walk(landing, source)))
        put("changed.csv", "id\n2\n")
        put("new.csv", "id\n1\n")
        later = datetime.now(UTC) + timedelta(days=31)
        assert clean(lake, landing, source, now=datetime.now(UTC)).files == 0  # too young
        assert clean(lake, landing, source, dry_run=True, now=later).files == 2
        assert len(keys(client, folder)) == 4

        def states(*_: object, **__: object) -> Iterator[FileState]:
            found = list(file_states(lake, landing, source, {"loaded"}))
            put("raced.csv", "id\n9\n")  # of the same size, within the same second
            yield from found

        monkeypatch.setattr("asgard_assets.ingest.files.clean.file_states", states)
        done = clean(lake, landing, source, now=later)
        assert (done.files, done.bytes, done.left) == (1, 5, 1)
        assert keys(client, folder) == [
            f"{folder}/{name}" for name in ("changed.csv", "new.csv", "raced.csv")
        ]
        moved = [f"in/_cleaned/invoices/ds={DAYS[0]}/ö a+b.csv"] if action == "move" else []
        assert [key for key in keys(client) if not key.startswith(folder) and not key.endswith("/")] == moved
        if moved:
            assert client.get_object(Bucket="landing", Key=moved[0])["Body"].read() == b"id\n1\n"
        monkeypatch.undo()
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "test-access"),
            ("AWS_SECRET_ACCESS_KEY", "test-secret-key"),
        ):
            monkeypatch.setenv(name, value)
        states_then = {s.path.rpartition("/")[2]: s.state for s in file_states(lake, landing, source)}
        assert states_then == {
            "changed.csv": "changed",
            "new.csv": "pending",
            "raced.csv": "changed",
            "ö a+b.csv": "deleted",
        }


def test_what_the_store_tells_reaches_the_sensor_through_a_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """versitygw posts its events, somebody puts them into SQS, the sensor asks for the day; nothing is listed."""
    with (
        dg.DagsterInstance.ephemeral() as instance,
        receiving() as receiver,
        store(tmp_path, monkeypatch, f"{receiver.url}/events") as (lake, landing, client),
    ):
        with queue(tmp_path) as (url, sqs):
            source = SOURCE.model_copy(update={"notify": FromQueue(type="sqs", queue_url=url)})
            sensor = file_sensor(source)
            defs = dg.Definitions(assets=[file_asset(source)], sensors=[sensor], resources=resources())

            def tick(cursor: str | None) -> Any:
                context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs)
                return sensor.evaluate_tick(context)

            def put(name: str, announced: int = 1) -> None:
                told = len(receiver.posted)
                client.put_object(Bucket="landing", Key=f"in/invoices/ds={DAYS[0]}/{name}", Body=b"id\n1\n")
                end = time.monotonic() + patience(20)
                while len(receiver.posted) == told:
                    assert time.monotonic() < end, "versitygw told nothing"
                    time.sleep(0.02)
                for _ in range(announced):
                    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(receiver.posted[-1][1]))

            listed = json.dumps({"full_at": time.time()})
            monkeypatch.setattr("asgard_assets.components.file_sensor.scan", None)
            put("a b+c é.csv", announced=3)
            put("b.csv")
            [request] = tick(listed).run_requests
            assert (request.partition_key, request.tags["asgard/files"]) == (DAYS[0], "2")
            time.sleep(1.2)  # what was not taken off would be shown again
            assert (
                sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"][
                    "ApproximateNumberOfMessages"
                ]
                == "0"
            )
            know(lake, list(walk(landing, source)))
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps(receiver.posted[-1][1]))
            assert tick(listed).skip_message == "1 messages"
            put("silent.csv", announced=0)
            assert not tick(listed).run_requests
            monkeypatch.setattr("asgard_assets.components.file_sensor.scan", scan)
            assert [r.partition_key for r in tick(None).run_requests] == [DAYS[0]]
        gone = tick(listed)  # the queue's server is down: the tick lists
        assert [r.partition_key for r in gone.run_requests] == [DAYS[0]]


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
        assert lake.put_new("once", b"1")
        assert not lake.put_new("once", b"2")
