"""Facts as Prometheus reads them. Names and labels are promised: dashboards and alert rules ask for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asgard_assets.telemetry.facts import ENDED, AssetRun, Facts, RunFact, TableFact
from asgard_assets.version import VERSION

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PARTS = ("history", "lake", "streams", "databases")
"""What is read; `asgard_metrics_unread` says of each whether it could not be."""
_STATES = ("queued", "not_started", "starting", "started", "canceling", "success", "failure", "canceled")
_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
_SET_ASIDE = {
    "quarantine": ("bronze", "asgard_quarantine_rows"),
    "rejected": ("silver", "asgard_rejected_rows"),
}
"""Stages of rows that were set aside: the stage that sets them aside, and the metric."""


def exposition(facts: Facts) -> str:
    """All figures in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Once(Collector):
        def collect(self) -> Iterable[Metric]:
            yield from _families(facts)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry).decode()


def _families(facts: Facts) -> Iterator[Metric]:
    yield _gauge("asgard_build_info", "Always 1; the label is the version.", {(VERSION,): 1}, "version")
    yield from _of_runs(facts.runs)
    yield from _of_assets(facts.made)
    yield from _of_tables(facts.tables)
    lags = {(one.table, one.topic, str(one.partition)): one for one in facts.lags}
    where = ("table", "topic", "partition")
    text = "Records of the topic that the table has not, transaction marks included."
    yield _gauge("asgard_stream_lag_records", text, {key: one.lag for key, one in lags.items()}, *where)
    text = "The next offset that the table reads."
    yield _counter("asgard_stream_offset", text, {key: one.offset for key, one in lags.items()}, *where)
    held = {(one.database, one.slot): one.held_bytes for one in facts.slots}
    text = "Bytes of Postgres' log that the replication slot keeps from being removed."
    yield _gauge("asgard_replication_slot_held_bytes", text, held, "database", "slot")
    active = {(one.database, one.slot): one.active for one in facts.slots}
    text = "1 while somebody reads the replication slot."
    yield _gauge("asgard_replication_slot_active", text, active, "database", "slot")
    text = "Tables made by SQL through the API, by state."
    yield _gauge(
        "asgard_transforms", text, {(name.lower(),): n for name, n in facts.transforms.items()}, "state"
    )
    text = "1 where this part could not be read this time; its other figures are missing then."
    yield _gauge("asgard_metrics_unread", text, {(part,): part in facts.unread for part in PARTS}, "part")
    yield _gauge("asgard_metrics_seconds", "How long reading these figures took.", {(): facts.seconds})


def _of_runs(runs: Sequence[RunFact]) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    states = Counter({name: 0 for name in _STATES})
    states.update(run.state for run in runs)
    text = "Runs in Dagster's history, by state."
    yield _gauge("asgard_runs", text, {(name,): n for name, n in states.items()}, "state")
    yield _gauge("asgard_queue_depth", "Runs that wait for their turn.", {(): states["queued"]})
    # A series that begins with its first failure would hide that failure from rate() and increase().
    ended = Counter({(asset, state): 0 for run in runs for asset in run.assets for state in ENDED})
    ended.update((asset, run.state) for run in runs if run.ended for asset in run.assets)
    text = "Runs that ended, by asset and state. A run of several assets counts for each of them."
    yield _counter("asgard_asset_runs", text, ended, "asset", "state")
    for name, text, values in (
        (
            "asgard_run_seconds",
            "How long runs took, from start to end.",
            [(run.state, run.seconds) for run in runs if run.ended],
        ),
        (
            "asgard_run_waited_seconds",
            "How long runs waited from request to start.",
            [(run.state, run.waited_seconds) for run in runs if run.ended],
        ),
    ):
        family = HistogramMetricFamily(name, text, labels=["state"])
        by_state = dict[str, list[float]]()
        for state, seconds in values:
            if seconds is not None:
                by_state.setdefault(state, []).append(seconds)
        for state, seconds in sorted(by_state.items()):
            buckets = [(str(float(edge)), float(sum(s <= edge for s in seconds))) for edge in _SECONDS]
            family.add_metric([state], [*buckets, ("+Inf", float(len(seconds)))], sum(seconds))
        yield family


_ASSET_COUNTERS = {
    "rows": ("asgard_asset_rows", "Rows that runs have written, by asset."),
    "bytes": ("asgard_asset_bytes", "Bytes that runs have written, by asset."),
    "requests": ("asgard_asset_requests", "Requests that runs have sent to the API behind the asset."),
    "retries": ("asgard_asset_request_retries", "Requests that were sent again."),
    "throttles": ("asgard_asset_request_throttles", "Answers that asked to be left alone for a while."),
    "seconds": ("asgard_asset_seconds", "Seconds that the steps of the asset took."),
    "cpu_seconds": ("asgard_asset_cpu_seconds", "CPU seconds that the steps of the asset used."),
}


def _of_assets(made: Sequence[AssetRun]) -> Iterator[Metric]:
    """Sums over all runs, and of the last run what is no sum. `made`: the oldest first."""
    for field, (name, text) in _ASSET_COUNTERS.items():
        sums = Counter[tuple[str, ...]]()
        for one in made:
            sums[one.asset,] += getattr(one, field)
        yield _counter(name, text, sums, "asset")
    outcomes = Counter[tuple[str, ...]]()
    for one in made:
        for outcome, count in one.outcomes.items():
            outcomes[one.asset, outcome] += count
    text = "Rows of an API's table by what became of their request: success, retryable, terminal."
    yield _counter("asgard_asset_request_outcomes", text, outcomes, "asset", "outcome")
    last = {one.asset: one for one in made}
    text = "The most memory that the process of the asset's last run had, with its children."
    yield _gauge(
        "asgard_asset_memory_bytes", text, {(a,): one.memory_bytes for a, one in last.items()}, "asset"
    )
    text = "Requests a second that the asset's last run has sent."
    rates = {(a,): one.requests_per_second for a, one in last.items() if one.requests}
    yield _gauge("asgard_asset_requests_per_second", text, rates, "asset")


def _of_tables(tables: Sequence[TableFact]) -> Iterator[Metric]:
    for field, text in {
        "rows": "Rows of the table.",
        "bytes": "Bytes of the files that readers of the table see.",
        "files": "Files that readers of the table see.",
        "partitions": "Partitions of the table that have rows.",
    }.items():
        yield _gauge(
            f"asgard_table_{field}", text, {(one.table,): getattr(one, field) for one in tables}, "table"
        )
    text = "When the table was published last, in seconds since 1970."
    told = {(one.table,): one.published_at for one in tables if one.published_at is not None}
    yield _gauge("asgard_table_published_timestamp_seconds", text, told, "table")
    for stage, (origin, name) in _SET_ASIDE.items():
        text = f"Rows in {stage}/<table>; 0 for a table of {origin} that has set none aside."
        rows = dict.fromkeys(_names(tables, origin), 0) | _names(tables, stage)
        yield _gauge(name, text, {(table,): count for table, count in rows.items()}, "table")


def _names(tables: Sequence[TableFact], stage: str) -> dict[str, int]:
    """Rows of the tables of a stage, by name."""
    split = ((*one.table.partition("/"), one.rows) for one in tables)
    return {name: rows for found, _, name, rows in split if found == stage}


def _gauge(name: str, text: str, values: Mapping[tuple[str, ...], Any], *labels: str) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _counter(name: str, text: str, values: Mapping[tuple[str, ...], Any], *labels: str) -> Metric:
    """Its series are called `<name>_total`."""
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _filled(family: Any, values: Mapping[tuple[str, ...], Any]) -> Metric:
    for labels, value in sorted(values.items()):
        family.add_metric(list(labels), float(value))
    return family
