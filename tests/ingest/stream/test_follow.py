"""A stream that runs for ever: the rows of runs, told to Dagster while it runs; ended, killed and taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.load import catch_up
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.operations.outside.streams import Follower, Pace, reporter, stream_of
from asgard_assets.windows import Calendar
from deployments.local.streaming.kafka import Broker
from tests.checkout import ROOT
from tests.ingest.stream.test_streams import rows, send, stream
from tests.patience import patience, wait_until

pytestmark = pytest.mark.servers


def counted(lake: Lake, source: StreamSource) -> tuple[int, int]:
    """Rows of the table, and different keys."""
    if lake.table("bronze", source.name) is None:
        return (0, 0)
    [found] = rows(lake, f"select count(*), count(distinct external_id) from bronze.{source.name}")
    return found


def numbered(first: int, count: int) -> list[tuple[str | None, bytes | None]]:
    return [(f"k{n}", json.dumps({"id": n}).encode()) for n in range(first, first + count)]


def started(folder: Path, source: StreamSource) -> subprocess.Popen[str]:
    """`asgard stream` in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    told = source.model_dump(mode="json", exclude_defaults=True)
    document = {"type": "asgard_assets.components.stream.KafkaIngest", "attributes": told}
    (folder / "stream.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "asgard_assets.cli", "stream", str(folder / "stream.json")]
    command += ["--every-seconds", "0.2", "--report-seconds", "1", "--alive", str(folder / "alive")]
    environment = {**os.environ, "DAGSTER_HOME": str(folder)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_it_goes_on_after_a_kill_a_stop_and_a_run_and_each_record_is_there_once(
    home: Path, brokers: Kafka, tmp_path: Path
):
    lake, source, folder = Lake(str(home / "lake")), stream(), tmp_path / "dagster"
    brokers.make_topic(source.topic, 2)
    process = started(folder, source)
    try:
        send(brokers, source.topic, numbered(0, 300))
        wait_until(lambda: counted(lake, source)[0] >= 100, 60, "the first rows are there")
        process.kill()
        process.wait()
        send(brokers, source.topic, numbered(300, 200))
        assert catch_up(lake, source, brokers, Calendar()).lag == 0  # as a run of the asset
        process = started(folder, source)
        send(brokers, source.topic, numbered(500, 100))
        wait_until(lambda: counted(lake, source)[0] == 600, 60, "the last rows are there")
        process.send_signal(signal.SIGTERM)
        assert process.wait(patience(20)) == 0
    finally:
        process.kill()
    assert counted(lake, source) == (600, 600) and (folder / "alive").exists()
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["bronze", source.name]))
        assert event is not None and event.asset_materialization is not None
        told = {name: value.value for name, value in event.asset_materialization.metadata.items()}
        assert told["dagster/partition_row_count"] == 600 and told["lag"] == 0 and told["new_rows"]


def test_a_stream_and_runs_at_the_same_time_lose_and_double_nothing(
    home: Path, brokers: Kafka, tmp_path: Path
):
    lake, source = Lake(str(home / "lake")), stream(max_offsets_per_batch=40)
    brokers.make_topic(source.topic, 2)
    send(brokers, source.topic, numbered(0, 10))
    stop = threading.Event()
    follower = Follower(source, lake, brokers, stop.is_set, pace=Pace(0.1, 1))
    thread = threading.Thread(target=lambda: list(follower.run()))
    thread.start()
    try:
        for number in range(4):
            send(brokers, source.topic, numbered(10 + number * 100, 100))
            catch_up(lake, source, brokers, Calendar())
        wait_until(lambda: counted(lake, source)[0] == 410, 30, "all rows are there")
    finally:
        stop.set()
        thread.join(patience(20))
    assert counted(lake, source) == (410, 410)


def test_a_broker_that_is_away_is_waited_for_and_dagster_is_told_before_the_end(
    home: Path, brokers: Kafka, tmp_path: Path
):
    lake, source, told = Lake(str(home / "lake")), stream(), []
    looks = iter([Kafka("127.0.0.1:1", wait_seconds=0.5), brokers])
    stop = threading.Event()
    brokers.make_topic(source.topic, 1)
    send(brokers, source.topic, numbered(0, 3))
    follower = Follower(source, lake, next(looks), stop.is_set, told.append, pace=Pace(0.1, 3600))
    for found in follower.run():
        if isinstance(found, Exception):
            assert "Check ASGARD_KAFKA" in str(found)
            follower.kafka = next(looks)
        else:
            stop.set()
    assert [sum(one.rows.values()) for one in told] == [3]
    with dg.DagsterInstance.ephemeral() as instance:
        reporter(instance, lake, source)(told[0])
        key = dg.AssetKey(["bronze", source.name])
        [record] = instance.fetch_materializations(key, limit=5).records
        assert record.asset_materialization and record.asset_materialization.metadata["new_rows"].value == 3


def test_a_broker_that_is_killed_loses_and_doubles_nothing(home: Path, broker: Broker, brokers: Kafka):
    lake, source = Lake(str(home / "lake")), stream(max_offsets_per_batch=50)
    brokers.make_topic(source.topic, 2)
    send(brokers, source.topic, numbered(0, 200))
    stop, errors = threading.Event(), list[object]()
    impatient = Kafka(brokers.servers, wait_seconds=2)
    follower = Follower(source, lake, impatient, stop.is_set, pace=Pace(0.1, 3600))

    def follow() -> None:
        errors.extend(found for found in follower.run() if isinstance(found, Exception))

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        wait_until(lambda: counted(lake, source)[0] >= 50, 30, "the first rows are there")
        broker.kill()
        wait_until(lambda: errors, 30, "it says that the broker is away", pause=0.5)
        broker.start()
        send(brokers, source.topic, numbered(200, 100))
        wait_until(lambda: counted(lake, source)[0] == 300, 60, "all rows are there", pause=0.5)
    finally:
        stop.set()
        thread.join(patience(20))
    assert counted(lake, source) == (300, 300)


def test_one_event_is_in_the_table_within_seconds(home: Path, brokers: Kafka):
    lake, source = Lake(str(home / "lake")), stream()
    brokers.make_topic(source.topic, 1)
    stop = threading.Event()
    follower = Follower(source, lake, brokers, stop.is_set, pace=Pace(0.2, 3600))
    thread = threading.Thread(target=lambda: list(follower.run()))
    thread.start()
    waits = []
    try:
        for number in range(5):
            sent = time.monotonic()
            send(brokers, source.topic, numbered(number, 1))
            wait_until(lambda number=number: counted(lake, source)[0] > number, 30, "it is there", 0.05)
            waits.append(time.monotonic() - sent)
    finally:
        stop.set()
        thread.join(patience(20))
    assert sorted(waits)[2] < patience(5) / 3, waits


def test_a_stream_is_found_by_its_file_and_an_unknown_one_is_named(tmp_path: Path):
    file = tmp_path / f"{uuid.uuid4().hex}.yaml"
    file.write_text(
        "type: asgard_assets.components.stream.KafkaIngest\nattributes: {name: a, topic: t, description: D.}\n"
    )
    assert stream_of(str(file)).topic == "t"
    with pytest.raises(ConfigError, match="there is no stream nothing"):
        stream_of("nothing")
