"""Runs of ingestions: those that somebody asked for, and those that a sensor or a schedule started."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.ingest.files.plan.control import SOURCE_TAG
from asgard_assets.operations.autoloader.progress import Progress, progress_of
from asgard_assets.operations.autoloader.work import ASKS
from asgard_assets.operations.partitions import Span
from asgard_assets.operations.runs import TAG, failures
from asgard_assets.operations.transforms.follow import WORDS, event_of
from asgard_assets.operations.transforms.submissions import (
    Outcome,
    Submission,
    Submissions,
    queued,
    run_id_of,
)

if TYPE_CHECKING:
    import dagster as dg

    from asgard_assets.lake import Lake

_SHOWN = 20
_LINES, _EVENTS = 200, 1000
_COUNTS = {
    "files": "files", "bytes": "bytes", "rows": "records", "rescued_rows": "rescued_records",
    "quarantined_rows": "quarantined_records", "failed_files": "failed_files",
}  # fmt: skip


@dataclass(frozen=True)
class IngestionRun:
    """One run. Times are ISO 8601; None: not yet. `trigger`: who or what started it. `errors`: what went wrong, in words."""

    run_id: str
    ingestion_id: str
    state: str
    trigger: str
    ask: str
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    duration_seconds: float | None = None
    partitions: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0
    records: int = 0
    rescued_records: int = 0
    quarantined_records: int = 0
    failed_files: int = 0
    errors: tuple[str, ...] = ()
    retry_of: str = ""
    progress: Progress | None = None
    dagster_run_ids: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        return self.state in ("COMPLETED", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class Ask:
    """A run that is asked for: of which data, of which windows, by whom, and of which earlier run it is a retry."""

    ask: str = "changed"
    partitions: str = ""
    account: str = ""
    idempotency_key: str = ""
    retry_of: str = ""


@dataclass
class IngestionRuns:
    """The runs of all ingestions, from the queue and from Dagster's history."""

    lake: Lake
    submissions: Submissions
    instance: dg.DagsterInstance
    clock: Callable[[], float] = time.time
    _ended: dict[str, IngestionRun] = field(default_factory=dict)

    def start(self, name: str, table: str, revision: int, workspace: str, wanted: Ask) -> Submission:
        """Queue a run. Raises ConfigError where the windows are none."""
        if wanted.ask not in ASKS:
            raise ConfigError(f"{wanted.ask[:50]!r} is no kind of run; choose one of {', '.join(ASKS)}")
        Span.parse(wanted.partitions)
        made = Submission(
            run_id_of(wanted.account, wanted.idempotency_key),
            table,
            revision,
            self.clock(),
            workspace,
            wanted.account,
            source=name,
            ask=wanted.ask,
            partitions=wanted.partitions,
            retry_of=wanted.retry_of,
        )
        return queued(self.submissions, made)

    def retry(self, name: str, run_id: str, table: str, workspace: str, who: Ask) -> Submission:
        """Queue the run again: of what it asked for, all that has no success. `who` says by whom, and the idempotency key.

        Raises NotFoundError, and ConflictError where it goes on or was a success.
        """
        earlier = self.get(name, run_id)
        if not earlier.ended:
            raise ConflictError(f"the run {run_id} goes on; retry it when it has ended")
        if earlier.state == "COMPLETED":
            raise ConflictError(f"the run {run_id} was a success; start another one with POST …/{name}/run")
        known = self.submissions.get(run_id)
        windows = "" if known is None else known.partitions
        if known is None and earlier.partitions:
            first, last = earlier.partitions[0], earlier.partitions[-1]
            windows = first if first == last else f"{first}...{last}"
        ask = "failed" if known is None or known.ask == "changed" else known.ask
        again = replace(who, ask=ask, partitions=windows, retry_of=run_id)
        return self.start(name, table, known.revision if known else 0, workspace, again)

    def list(self, name: str, limit: int = 20) -> list[IngestionRun]:
        """The newest first."""
        import dagster as dg

        asked = [one for one in self.submissions.all() if one.source == name][:limit]
        tags = {SOURCE_TAG: name}
        others = [
            record
            for record in self.instance.get_run_records(
                dg.RunsFilter(tags=tags), limit=limit + 3 * len(asked)
            )
            if TAG not in record.dagster_run.tags
        ]
        found = [self._submitted(one) for one in asked] + [
            self._of_dagster(name, record) for record in others[:limit]
        ]
        return sorted(found, key=lambda run: run.created_at, reverse=True)[:limit]

    def get(self, name: str, run_id: str) -> IngestionRun:
        """Raises NotFoundError where the ingestion has no such run."""
        if (one := self.submissions.get(run_id)) is not None and one.source == name:
            return self._submitted(one)
        record = self._record(run_id)
        if record is None or record.dagster_run.tags.get(SOURCE_TAG) != name:
            raise NotFoundError(f"{name} has no run {run_id[:40]!r}; see GET /api/v1/ingestions/{name}/runs")
        return self._of_dagster(name, record)

    def log(self, run: IngestionRun) -> list[str]:
        """What happened in a run, the last lines; before Dagster knows of it, what its process printed."""
        lines = list[str]()
        for run_id in run.dagster_run_ids:
            records = self.instance.get_records_for_run(run_id, limit=_EVENTS).records
            lines += [event_of(record.event_log_entry).line for record in records]
        if not lines or run.state == "FAILED":
            lines += self._printed(run.run_id)
        return lines[-_LINES:]

    def _printed(self, run_id: str) -> list[str]:
        path = self.submissions.log(run_id)
        return path.read_text(errors="replace").splitlines()[-_LINES:] if path.exists() else []

    def _record(self, run_id: str) -> dg.RunRecord | None:
        import dagster as dg

        found = self.instance.get_run_records(dg.RunsFilter(run_ids=[run_id]), limit=1)
        return found[0] if found else None

    def _submitted(self, one: Submission) -> IngestionRun:
        import dagster as dg

        if one.run_id in self._ended:
            return self._ended[one.run_id]
        outcome = self.submissions.outcome(one.run_id)
        records = list(reversed(self.instance.get_run_records(dg.RunsFilter(tags={TAG: one.run_id}))))
        state = _state(outcome, records)
        told = self._told(records)
        errors = [*(outcome.reasons if outcome and not outcome.ok else ())]
        made = IngestionRun(
            one.run_id, one.source, state, "retry" if one.retry_of else "manual", one.ask, _time(one.created) or "",
            errors=tuple(errors[:_SHOWN]), retry_of=one.retry_of,
            progress=progress_of(self.lake, one.source, [run.dagster_run.run_id for run in records]) if state == "RUNNING" else None,
            **(told | ({"ended_at": _time(outcome.finished), "duration_seconds": outcome.seconds} if outcome else {})),
        )  # fmt: skip
        if outcome:
            self._ended[one.run_id] = made
        return made

    def _of_dagster(self, name: str, record: dg.RunRecord) -> IngestionRun:
        run = record.dagster_run
        if run.run_id in self._ended:
            return self._ended[run.run_id]
        failed = tuple(failures(self.instance, run.run_id))[:_SHOWN] if run.is_failure else ()
        state = WORDS.get(run.status.value, run.status.value)
        made = IngestionRun(
            run.run_id, name, state, _trigger(run.tags), "changed", _time(record.create_timestamp.timestamp()) or "",
            errors=failed, progress=progress_of(self.lake, name, [run.run_id]) if state == "RUNNING" else None,
            **self._told([record]),
        )  # fmt: skip
        if run.is_finished:
            self._ended[run.run_id] = made
        return made

    def _told(self, records: Sequence[dg.RunRecord]) -> dict[str, Any]:
        """Times, windows and figures of the runs together."""
        counts, windows = dict.fromkeys(_COUNTS.values(), 0), dict[str, None]()
        for record in records:
            for partition, metadata in self._made(record.dagster_run.run_id):
                windows[partition] = None
                for key, name in _COUNTS.items():
                    counts[name] += int(metadata.get(key) or 0)
        for record in records:
            for partition in _windows(record.dagster_run.tags):
                windows.setdefault(partition)
        starts = [record.start_time for record in records if record.start_time]
        ends = [record.end_time for record in records if record.end_time]
        started = min(starts, default=None)
        ended = max(ends) if ends and len(ends) == len(records) else None
        return {
            **counts,
            "partitions": tuple(sorted(filter(None, windows))),
            "started_at": _time(started),
            "ended_at": _time(ended),
            "duration_seconds": None if started is None or ended is None else ended - started,
            "dagster_run_ids": tuple(record.dagster_run.run_id for record in records),
        }

    def _made(self, run_id: str) -> list[tuple[str, Mapping[str, Any]]]:
        """What the run told of each window that it published."""
        import dagster as dg

        kind = dg.DagsterEventType.ASSET_MATERIALIZATION
        found = self.instance.get_records_for_run(run_id, of_type=kind, limit=1000)
        made = [each.event_log_entry.asset_materialization for each in found.records]
        return [
            (one.partition or "", {name: value.value for name, value in one.metadata.items()})
            for one in made
            if one
        ]


def _state(outcome: Outcome | None, records: Sequence[dg.RunRecord]) -> str:
    if outcome is not None:
        return "COMPLETED" if outcome.ok else "FAILED"
    return "RUNNING" if records else "SUBMITTED"


def _trigger(tags: Mapping[str, str]) -> str:
    return (
        "sensor"
        if "dagster/sensor_name" in tags
        else "schedule"
        if "dagster/schedule_name" in tags
        else "dagster"
    )


def _windows(tags: Mapping[str, str]) -> list[str]:
    ends = [tags.get(f"dagster/asset_partition_range_{end}", "") for end in ("start", "end")]
    return [tags["dagster/partition"]] if "dagster/partition" in tags else [end for end in ends if end]


def _time(seconds: float | None) -> str | None:
    return (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    )
