"""Runs and what they made, from Dagster's history. What was read once is kept; each look reads what came since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgard_assets.telemetry.facts import AssetRun, RunFact

if TYPE_CHECKING:
    import dagster as dg

_PAGE = 1000
_OVERLAP = timedelta(seconds=60)  # clocks of the processes that write the history differ
_GREATEST = {
    "bytes": ("cost/bytes", "bytes"),
    "requests": ("cost/requests", "requests"),
    "retries": ("retries",),
    "throttles": ("throttles",),
    "requests_per_second": ("requests_per_second",),
    "seconds": ("cost/seconds",),
    "cpu_seconds": ("cost/cpu_seconds",),
    "memory_bytes": ("cost/memory_bytes",),
}
"""Figures of a whole run, which each of its partitions carries."""
_ROWS = ("new_rows", "dagster/partition_row_count", "dagster/row_count", "rows", "sent", "records")


class History:
    """The runs of an instance and what they told of their assets."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._runs = dict[str, RunFact]()
        self._made = dict[tuple[str, str], AssetRun]()
        self._since: datetime | None = None
        self._cursors: dict[dg.AssetKey, int] = {}

    def runs(self) -> list[RunFact]:
        """Every run that the history has had since the first look. One that names no asset has those that it made."""
        import dagster as dg

        now, cursor = datetime.now(UTC), None
        wanted = dg.RunsFilter(updated_after=self._since)
        while True:
            page = self._instance.get_run_records(wanted, limit=_PAGE, cursor=cursor)
            for record in page:
                self._runs[record.dagster_run.run_id] = _run(record)
            if len(page) < _PAGE:
                break
            cursor = page[-1].dagster_run.run_id
        self._since = now - _OVERLAP
        made = dict[str, list[str]]()
        for run_id, asset in self._made:
            made.setdefault(run_id, []).append(asset)
        return [
            run if run.assets else replace(run, assets=made.get(run_id, ()))
            for run_id, run in self._runs.items()
        ]

    def made(self) -> list[AssetRun]:
        """What each run told of each asset, the oldest first."""
        for record in self._instance.get_asset_records():
            entry = record.asset_entry
            if (entry.last_materialization_storage_id or 0) > self._cursors.get(entry.asset_key, 0):
                self._follow(entry.asset_key)
        return list(self._made.values())

    def _follow(self, key: dg.AssetKey) -> None:
        """Read what an asset was told since the last look."""
        import dagster as dg

        while True:
            wanted = dg.AssetRecordsFilter(key, after_storage_id=self._cursors.get(key))
            page = self._instance.fetch_materializations(wanted, limit=_PAGE, ascending=True)
            for record in page.records:
                self._cursors[key] = record.storage_id
                if record.asset_materialization is not None:
                    name = key.to_user_string()
                    made = self._made.setdefault((record.run_id, name), AssetRun(name))
                    _add(made, record.asset_materialization.metadata)
            if not page.has_more:
                return


def _run(record: dg.RunRecord) -> RunFact:
    run, start, end = record.dagster_run, record.start_time, record.end_time
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    return RunFact(
        run.status.value.lower(),
        assets or ([] if run.job_name.startswith("__") else [run.job_name]),
        None if start is None else max(start - record.create_timestamp.timestamp(), 0.0),
        None if start is None or end is None else max(end - start, 0.0),
    )


def _add(made: AssetRun, metadata: Mapping[str, Any]) -> None:
    told = {name: getattr(value, "value", None) for name, value in metadata.items()}
    numbers = {name: value for name, value in told.items() if isinstance(value, int | float)}
    made.rows += int(next((numbers[name] for name in _ROWS if name in numbers), 0))
    for field, names in _GREATEST.items():
        found = next((numbers[name] for name in names if name in numbers), 0)
        setattr(made, field, max(getattr(made, field), found))
    for name, value in numbers.items():
        if name.startswith("rows_"):
            outcome = name.removeprefix("rows_")
            made.outcomes[outcome] = made.outcomes.get(outcome, 0) + int(value)
