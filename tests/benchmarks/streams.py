"""What a stream costs and how late it is, on a Kafka of this machine.

    python -m tests.benchmarks.streams throughput --records 200000 --pairs 3   # against plain Structured Streaming
    python -m tests.benchmarks.streams latency --per-second 300 --seconds 60   # `asgard stream`, from producer to table

Records are JSON of 1 KB. Throughput is from an open session (of theirs; ours has none) to the committed table, each side in
a process of its own; ours checks JSON, keeps a quarantine and runs the audit, theirs writes key and value as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.load import catch_up
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.ingest.stream.table import positions
from asgard_assets.lake import Lake
from asgard_assets.windows import Calendar
from deployments.local.streaming.kafka import kafka
from tests.benchmarks.cpu import TreeCpu
from tests.patience import loop_seconds

SOURCE = StreamSource(name="measured", topic="events.measured", description="Records of 1 KB.")
PARTITIONS = 2


def record(number: int) -> bytes:
    told = {"id": number, "at": "2026-10-05T12:00:00Z", "amount": number / 4, "text": ""}
    told["text"] = "x" * (1024 - len(json.dumps(told)))
    return json.dumps(told).encode()


def fill(broker: Kafka, count: int) -> None:
    from confluent_kafka import Producer

    broker.make_topic(SOURCE.topic, PARTITIONS)
    producer = Producer(broker.config(**{"linger.ms": 50, "queue.buffering.max.messages": 1_000_000}))
    for number in range(count):
        producer.produce(SOURCE.topic, record(number), key=str(number))
        producer.poll(0)
    producer.flush()


def ours(home: Path, servers: str) -> int:
    told = catch_up(Lake(str(home / "lake")), SOURCE, Kafka(servers), Calendar())
    return sum(told.rows.values())


def theirs(home: Path, servers: str) -> int:
    from asgard_assets.spark.session import open_session

    spark = open_session()
    read = spark.readStream.format("kafka").option("kafka.bootstrap.servers", servers)
    read = read.option("subscribe", SOURCE.topic).option("startingOffsets", "earliest").load()
    query = (
        read.selectExpr(
            "cast(key as string) as key", "cast(value as string) as value", "partition", "offset", "timestamp"
        )
        .writeStream.format("delta")
        .option("checkpointLocation", str(home / "checkpoint"))
        .trigger(availableNow=True)
        .start(str(home / "theirs"))
    )
    query.awaitTermination()
    return spark.read.format("delta").load(str(home / "theirs")).count()


SIDES = {"ours": ours, "theirs": theirs}


def child(side: str, home: Path, servers: str) -> None:
    """One side, measured in this process; prints seconds, CPU seconds and rows."""
    if side == "theirs":
        from asgard_assets.spark.session import open_session

        open_session().range(1).count()
    began = time.monotonic()
    with TreeCpu() as cpu:
        rows = SIDES[side](home, servers)
        seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "cpu": cpu.seconds, "rows": rows}))


def throughput(records: int, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as folder, kafka(Path(folder) / "kafka") as server:
        fill(Kafka(server.address), records)
        ratios = list[float]()
        for number in range(pairs):
            found = {}
            for side in SIDES if number % 2 else reversed(SIDES):
                home = Path(folder) / f"{side}{number}"
                home.mkdir()
                command = [
                    sys.executable,
                    "-m",
                    "tests.benchmarks.streams",
                    "child",
                    side,
                    str(home),
                    server.address,
                ]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[side] = told = json.loads(done.stdout.splitlines()[-1])
                assert told["rows"] == records, told
                print(
                    f"{side}: {records / told['seconds']:,.0f} records/s, {told['seconds']:.1f} s, {told['cpu']:.1f} s CPU",
                    flush=True,
                )
            ratios.append(found["theirs"]["seconds"] / found["ours"]["seconds"])
        print(
            f"ours {statistics.median(ratios):.2f} times as fast (worst {min(ratios):.2f}); loop {loop_seconds()} s"
        )


@contextmanager
def followed(home: Path, servers: str) -> Iterator[None]:
    """`asgard stream` in a process of its own, as a Deployment runs it."""
    home.mkdir(parents=True, exist_ok=True)
    attributes = SOURCE.model_dump(mode="json", exclude_defaults=True)
    document = {"type": "asgard_assets.components.stream.KafkaIngest", "attributes": attributes}
    (home / "stream.json").write_text(json.dumps(document))
    environment = {**os.environ, "ASGARD_HOME": str(home), "ASGARD_KAFKA": servers, "DAGSTER_HOME": str(home)}
    command = [sys.executable, "-m", "asgard_assets.cli", "stream", str(home / "stream.json")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def latency(per_second: int, seconds: int) -> None:
    """From the call of the producer to the commit that has the record, looked at ten times a second."""
    from confluent_kafka import Producer

    with tempfile.TemporaryDirectory() as folder, kafka(Path(folder) / "kafka") as server:
        broker, home = Kafka(server.address), Path(folder) / "home"
        fill(broker, 1)
        lake, sent, seen = (
            Lake(str(home / "lake")),
            dict[tuple[int, int], float](),
            dict[tuple[int, int], float](),
        )
        topic = broker.topic(SOURCE.topic)
        assert topic is not None
        ended = threading.Event()

        def look() -> None:
            known = dict.fromkeys(range(PARTITIONS), 0)
            while not ended.wait(0.1):
                found = positions(lake, "bronze", SOURCE.name, topic)
                now = time.monotonic()
                for part, end in found.items():
                    seen.update({(part, offset): now for offset in range(known[part], end)})
                    known[part] = end

        with followed(home, server.address):
            while not positions(lake, "bronze", SOURCE.name, topic):
                time.sleep(0.2)
            watcher = threading.Thread(target=look)
            watcher.start()
            producer, began = Producer(broker.config(**{"linger.ms": 5})), time.monotonic()
            for number in range(per_second * seconds):
                if (early := began + number / per_second - time.monotonic()) > 0:
                    time.sleep(early)
                moment = time.monotonic()

                def noted(_, message, moment: float = moment) -> None:  # noqa: ANN001
                    sent[message.partition(), message.offset()] = moment

                producer.produce(SOURCE.topic, record(number), key=str(number), on_delivery=noted)
                producer.poll(0)
            producer.flush()
            time.sleep(15)
            ended.set()
            watcher.join()
        waits = sorted(seen[place] - moment for place, moment in sent.items() if place in seen)
        p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
        print(
            f"{len(waits):,} of {len(sent):,} events: p50 {p50:.2f} s, p99 {p99:.2f} s, max {waits[-1]:.2f} s; loop {loop_seconds()} s"
        )
        print(
            f"{lake.version('bronze', SOURCE.name) + 1} commits, {len(lake.live('bronze', SOURCE.name))} files"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measure", choices=["throughput", "latency", "child"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--per-second", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    if given.measure == "child":
        child(given.rest[0], Path(given.rest[1]), given.rest[2])
    elif given.measure == "latency":
        latency(given.per_second, given.seconds)
    else:
        throughput(given.records, given.pairs)


if __name__ == "__main__":
    main()
