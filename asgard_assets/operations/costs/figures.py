"""Requests, bytes, CPU seconds, Spark hours and money of real runs: each run of a table once, and sums of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

By = Literal["run", "table", "owner"]
_PAGE = 1000


@dataclass(frozen=True)
class Cost:
    """What is known of one run of a table, or of many. `spark_hours`: core hours that Spark held."""

    table: str
    owner: str
    run_id: str
    started_at: datetime
    runs: int = 1
    partitions: int = 0
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    spark_hours: float = 0.0
    money: float = 0.0


def month_of(text: str, zone: str) -> tuple[datetime, datetime]:
    """Beginning and end of a month, written 2026-10, in the project's zone."""
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=ZoneInfo(zone))
    except ValueError as error:
        raise ConfigError(f"--month {text!r} is no month; write 2026-10") from error
    year, month = divmod(first.year * 12 + first.month, 12)
    return first, first.replace(year=year, month=month + 1)


def costs(
    instance: dg.DagsterInstance,
    specs: Iterable[dg.AssetSpec],
    start: datetime,
    end: datetime,
    settings: Settings,
) -> list[Cost]:
    """Each run of each asset that ended in between, oldest first, as far as Dagster's history reaches."""
    found = [cost for spec in specs for cost in _of_asset(instance, spec, start, end, settings)]
    return sorted(found, key=lambda cost: (cost.started_at, cost.table))


def summed(found: Sequence[Cost], by: By) -> list[Cost]:
    """One line for each run, table or owner; the dearest first."""
    groups = dict[str, list[Cost]]()
    for cost in found:
        groups.setdefault({"run": cost.run_id, "table": cost.table, "owner": cost.owner}[by], []).append(cost)
    lines = [_sum(costs, by) for costs in groups.values()]
    return sorted(lines, key=lambda cost: (-cost.money, -cost.seconds, cost.table, cost.owner))


def _sum(costs: Sequence[Cost], by: By) -> Cost:
    def common(values: Iterable[str]) -> str:
        known = sorted(set(values))
        return known[0] if len(known) == 1 else f"{len(known)} of them"

    def total(name: str) -> Any:
        return sum(getattr(cost, name) for cost in costs)

    return Cost(
        table=common(cost.table for cost in costs),
        owner=common(cost.owner for cost in costs),
        run_id=costs[0].run_id if by == "run" else "",
        started_at=min(cost.started_at for cost in costs),
        runs=len({cost.run_id for cost in costs}),
        partitions=total("partitions"),
        requests=total("requests"),
        bytes=total("bytes"),
        seconds=total("seconds"),
        cpu_seconds=total("cpu_seconds"),
        spark_hours=total("spark_hours"),
        money=total("money"),
    )


def _of_asset(
    instance: dg.DagsterInstance, spec: dg.AssetSpec, start: datetime, end: datetime, settings: Settings
) -> Iterator[Cost]:
    runs = dict[str, list[Any]]()
    for record in _records(instance, spec.key, start, end):
        if record.run_id:
            runs.setdefault(record.run_id, []).append(record)
    for run_id, records in runs.items():
        told = [
            dict(record.asset_materialization.metadata) for record in records if record.asset_materialization
        ]
        seconds = _greatest(told, "cost/seconds")
        if seconds is None:  # not of a table's step, or of an older release
            continue
        cores = settings.spark_cores if "spark" in spec.kinds else 0
        yield Cost(
            table=spec.key.to_user_string(),
            owner=", ".join(spec.owners) or settings.owner,
            run_id=run_id,
            started_at=datetime.fromtimestamp(min(record.timestamp for record in records), UTC),
            partitions=len({record.partition_key for record in records}),
            requests=int(_greatest(told, "cost/requests") or 0),
            bytes=int(_greatest(told, "cost/bytes") or 0),
            seconds=seconds,
            cpu_seconds=_greatest(told, "cost/cpu_seconds") or 0.0,
            spark_hours=_greatest(told, "cost/spark_hours") or seconds / 3600 * cores,
            money=seconds / 3600 * settings.dbu_per_hour * settings.cost_per_dbu_hour,
        )


def _records(instance: dg.DagsterInstance, key: dg.AssetKey, start: datetime, end: datetime) -> Iterator[Any]:
    import dagster as dg

    wanted = dg.AssetRecordsFilter(key, after_timestamp=start.timestamp(), before_timestamp=end.timestamp())
    cursor = None
    while True:
        page = instance.fetch_materializations(wanted, limit=_PAGE, cursor=cursor)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


def _greatest(told: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """A figure of the whole run, which each of its partitions carries."""
    values = [getattr(each[name], "value", None) for each in told if name in each]
    return max((float(value) for value in values if isinstance(value, int | float)), default=None)
