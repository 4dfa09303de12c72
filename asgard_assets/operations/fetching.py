"""`asgard fetch` and `asgard replay`: records to Kafka, from an API or from a table. Needs neither Dagster nor Spark."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from asgard_assets import project
from asgard_assets.errors import AsgardError, ConfigError, Transient
from asgard_assets.ingest.api.source.config import load
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.lake import DS, Lake
from asgard_assets.lake.sql import identifier
from asgard_assets.settings import Settings
from asgard_assets.windows import parse_keys

if TYPE_CHECKING:
    from asgard_assets.ingest.api.source.models import ApiSource
    from asgard_assets.ingest.stream.fetch import Fetched

log = logging.getLogger(__name__)

_LONGEST_WAIT = 300.0


def fetch(target: str, partitions: str = "", again: bool = False) -> Iterator[Fetched]:
    """Send each window that `partitions` names; without, those that a run would ask for now."""
    from asgard_assets.ingest.api.plan.calendar import today, usual_days
    from asgard_assets.ingest.stream.fetch import fetch as send

    source = source_of(target)
    windows = usual_days(source, today(source.every, source.time_zone))
    if partitions:
        windows = parse_keys(partitions, Settings().calendar(source.every, source.time_zone))
    yield from send(source, windows, Kafka.from_settings(), again=again)


def follow(
    target: str,
    every_seconds: float,
    stopped: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Fetched | AsgardError]:
    """Fetch again and again. An error that may pass is given and waited for, longer each time; others are raised."""
    wait = every_seconds
    while not stopped():
        try:
            yield from fetch(target)
            wait = every_seconds
        except AsgardError as error:
            if not isinstance(error, Transient):
                raise
            yield error
            wait = min(max(wait, 1.0) * 2, max(_LONGEST_WAIT, every_seconds))
        left = wait
        while left > 0 and not stopped():
            sleep(min(left, 0.5))
            left -= 0.5


def replay(table: str, first: str, last: str, topic: str, per_second: float | None) -> tuple[int, str]:
    """Send these partitions of a stream's table again; returns how many records, and the topic. Raises ConfigError."""
    from asgard_assets.ingest.stream.replay import replay as send

    stage, _, name = table.partition("/")
    lake = Lake.from_settings()
    if not name or lake.table(stage, name) is None:
        raise ConfigError(f"there is no table {table}; name one of a stream, such as bronze/orders")
    with lake.connect() as connection:
        query = f"select distinct {DS}, topic from {identifier(stage)}.{identifier(name)} where {DS} between ? and ?"
        found = connection.execute(query, [first, last]).fetchall()
    topics = {row[1] for row in found}
    if not topic and len(topics) > 1:
        raise ConfigError(
            f"{table} has rows of {', '.join(sorted(topics))}; say with --topic where to send them"
        )
    target = topic or next(iter(topics), "")
    windows = sorted({row[0] for row in found})
    if not windows:
        return 0, target
    return send(lake, table, windows, Kafka.from_settings(), target, per_second=per_second), target


def source_of(target: str) -> ApiSource:
    """The API source in a YAML file, or of that name in the project. Raises ConfigError."""
    if Path(target).suffix in (".yaml", ".yml", ".json"):
        return load(target)
    known = list[str]()
    for file in sorted(project.current().defs.rglob("defs.yaml")):
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            attributes = document.get("attributes") if isinstance(document, dict) else None
            source = attributes.get("source") if isinstance(attributes, dict) else None
            if isinstance(source, dict) and "endpoint" in source:
                known.append(str(source.get("name")))
                if source.get("name") == target:
                    return load(file, target)
    raise ConfigError(f"there is no API source {target}; there are: {', '.join(known) or 'none'}")
