"""A stream's run as Dagster events, and the runs that its sensor asks for."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from asgard_assets.components.partitions import partitions_of, tags_of
from asgard_assets.components.tables import Release, Yielded, check_result, report
from asgard_assets.ingest.stream.kafka import Kafka, KafkaAway, lag
from asgard_assets.ingest.stream.load import CaughtUp, NoTopicError, first_key, first_offsets, topic_of
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.ingest.stream.table import positions, table_spec
from asgard_assets.lake import Lake
from asgard_assets.quality.audit import Audit
from asgard_assets.quality.tables import TableSpec
from asgard_assets.settings import Settings

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def report_stream(
    context: dg.AssetExecutionContext, lake: Lake, spec: TableSpec, told: CaughtUp
) -> Iterator[Yielded]:
    """Tell Dagster of each window that got rows, of the checks, and of offsets and lag."""
    version = {"version": told.published.version} if told.published else {}
    asked = (
        list(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else []
    )
    done = Release(_joined(spec, told), told.published, list(told.rows), {})
    yield from report(context, spec, done, asked, _about(lake, spec, told), {**version, **_totals(told)})


def events(
    lake: Lake, source: StreamSource, told: CaughtUp
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """The same for a stream that no run carries: each window that got rows, and the checks."""
    spec, key = table_spec(source), dg.AssetKey(["bronze", source.name])
    about, totals = _about(lake, spec, told), _totals(told)
    for day in told.rows or (first_key(source, spec.calendar.key_at(datetime.now(UTC))),):
        yield dg.AssetMaterialization(key, partition=day, metadata={**about(day), **totals})
    joined = _joined(spec, told)
    for check in joined.checks:
        found = check_result(key, joined, check)
        yield dg.AssetCheckEvaluation(key, check.name, found.passed, found.metadata, severity=found.severity)


def _about(lake: Lake, spec: TableSpec, told: CaughtUp) -> Callable[[str], dict[str, Any]]:
    """What is told of one window."""
    table = Counter[str]()
    for part in lake.live(spec.stage, spec.name):
        table[part.day] += part.rows
    version = {"version": told.published.version} if told.published else {}

    def about(day: str) -> dict[str, Any]:
        return {"dagster/partition_row_count": table[day], "new_rows": told.rows[day], **version}

    return about


def _totals(told: CaughtUp) -> dict[str, Any]:
    """What is told of all windows together."""
    return {
        "rows": sum(told.rows.values()),
        "quarantined_rows": sum(told.quarantined.values()),
        "quarantined_because": dict(told.quarantined),
        "batches": told.batches,
        "offsets": {str(part): offset for part, offset in told.offsets.items()},
        "lag": told.lag,
    }


def _joined(spec: TableSpec, told: CaughtUp) -> Audit:
    """The audits of all batches as one."""
    rows, broken = dict(told.rows), {check.name: dict[str, int]() for check in spec.all_checks}
    for audit in told.audits:
        for name, days in audit.broken.items():
            for day, count in days.items():
                broken[name][day] = broken[name].get(day, 0) + count
    return Audit(f"{spec.stage}/{spec.name}", rows, broken, spec.all_checks)


def requested(
    context: dg.SensorEvaluationContext, source: StreamSource, kafka: Kafka | None = None
) -> dg.SensorResult | dg.SkipReason:
    """A run for the window of now where records wait; none while one is at it. A broker that is away is a skipped tick."""
    waiting = lag_of(Lake.from_settings(), source, kafka or Kafka.from_settings())
    if isinstance(waiting, str):
        return dg.SkipReason(waiting)
    if not waiting:
        return dg.SkipReason(f"nothing waits in {source.topic}")
    tag: Mapping[str, str] = {"asgard/stream": source.name}
    if context.instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED, tags=dict(tag)), limit=1):
        return dg.SkipReason(f"{waiting:,} records wait in {source.topic}; a run is at it")
    window = Settings().calendar(source.every, source.time_zone).key_at(datetime.now(UTC))
    key = first_key(source, window)
    tags = {**tag, **tags_of(partitions_of(source.every, source.time_zone, source.partitions), key)}
    with warnings.catch_warnings():  # Dagster's own tags of slices are none that it calls well-formed
        warnings.filterwarnings("ignore", "Non-compliant tag keys")
        return dg.SensorResult([dg.RunRequest(partition_key=key, tags=tags)])


def lag_of(lake: Lake, source: StreamSource, kafka: Kafka) -> int | str:
    """Records that the table has not, or why nobody knows."""
    try:
        topic = topic_of(kafka, source)
    except (KafkaAway, NoTopicError) as error:
        return str(error)
    return lag(topic, first_offsets(source, topic, positions(lake, "bronze", source.name, topic)))
