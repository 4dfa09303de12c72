"""How submitted runs stand: status, log lines, events, figures. Read from Dagster's history and the submissions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.operations.runs import TAG
from asgard_assets.operations.transforms.submissions import Outcome, Submission, Submissions

if TYPE_CHECKING:
    import dagster as dg

STATES: tuple[str, ...] = ("SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
WORDS = {
    "QUEUED": "SUBMITTED", "NOT_STARTED": "SUBMITTED", "MANAGED": "SUBMITTED", "STARTING": "SUBMITTED", "STARTED": "RUNNING",
    "CANCELING": "RUNNING", "SUCCESS": "COMPLETED", "FAILURE": "FAILED", "CANCELED": "CANCELLED",
}  # fmt: skip
Sees = Callable[[str], bool]
"""Whether the caller may see a workspace."""
MOST_EVENTS = 1000
_PRINTED = 200
_MOST_ACTIVE = 10_000


def everywhere(_: str) -> bool:
    return True


@dataclass(frozen=True)
class RunStatus:
    """One run, in the words of the API. Times are ISO 8601; None: not yet. `as_of`: when it was read; two seconds ago at most."""

    run_id: str
    spark_application: str
    namespace: str
    state: str
    driver_pod: str
    executor_count: int
    creation_time: str
    spark_version: str
    output_table: str
    revision: int
    start_time: str | None = None
    end_time: str | None = None
    dagster_run_id: str | None = None
    reason: str = ""
    as_of: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ("COMPLETED", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    time: str
    level: str
    type: str
    message: str
    step: str = ""

    @property
    def line(self) -> str:
        """As a line of a log."""
        return f"{self.time} {self.level} {self.step + ' ' if self.step else ''}{self.type}: {self.message}"


@dataclass(frozen=True)
class Page:
    """Events in order. `cursor` is where the next page begins; `more`: there is one now."""

    events: tuple[Event, ...] = ()
    cursor: str = ""
    more: bool = False


@dataclass(frozen=True)
class Figures:
    """What a run has used. None: not known yet."""

    run_id: str
    state: str
    duration_seconds: float | None
    cpu_seconds: float | None
    memory_bytes: int | None
    rows: int | None
    bytes: int | None
    queue_seconds: float | None


@dataclass(frozen=True)
class Totals:
    """All runs together."""

    total: int
    by_state: dict[str, int]
    success_rate: float | None
    mean_seconds: float | None
    queue_depth: int
    running: int


class Runs:
    """The submitted runs and what Dagster knows of them."""

    def __init__(
        self, submissions: Submissions, instance: dg.DagsterInstance, namespace: str = "asgard",
        clock: Callable[[], float] = time.time, fresh_seconds: float = 2.0,
    ) -> None:  # fmt: skip
        self._submissions, self._instance, self._namespace = submissions, instance, namespace
        self._clock, self._fresh_seconds = clock, fresh_seconds
        # With workspace and time of reading. What has ended stays as it is; others are read again after a while.
        self._ended: dict[str, tuple[str, RunStatus]] = {}
        self._active: dict[str, tuple[str, RunStatus, float]] = {}

    def status(self, run_id: str, sees: Sees = everywhere) -> RunStatus:
        """Raises NotFoundError where nobody submitted such a run in a workspace that the caller sees."""
        if (known := self.known(run_id, sees)) is not None:
            return known
        now = self._clock()
        one, outcome = self._one(run_id, sees), self._submissions.outcome(run_id)
        found = replace(self._status(one, self._record(run_id), outcome), as_of=_time(now) or "")
        if found.ended and outcome:
            self._active.pop(run_id, None)
            self._ended[run_id] = (one.workspace, found)
        else:
            if len(self._active) >= _MOST_ACTIVE:
                self._active.clear()
            self._active[run_id] = (one.workspace, found, now)
        return found

    def known(self, run_id: str, sees: Sees = everywhere) -> RunStatus | None:
        """A run that was asked for before, and has ended or was read a moment ago; nothing is read for it."""
        if (found := self._ended.get(run_id)) is not None:
            return found[1] if sees(found[0]) else None
        if (active := self._active.get(run_id)) is None or not sees(active[0]):
            return None
        return active[1] if 0 <= self._clock() - active[2] < self._fresh_seconds else None

    def jobs(self, limit: int, state: str = "", sees: Sees = everywhere) -> list[RunStatus]:
        """The newest first; those in `state`, then at most `limit`. Loads, features and trainings are none of them."""
        found = list[RunStatus]()
        for one in self._submissions.all():
            if len(found) >= limit:
                break
            if not one.is_transform or not sees(one.workspace):
                continue
            status = self.status(one.run_id)
            if not state or status.state == state:
                found.append(status)
        return found

    def events(self, run_id: str, cursor: str = "", limit: int = MOST_EVENTS) -> Page:
        """What happened, behind a cursor. Raises ConfigError where the cursor is none of an earlier page."""
        self._one(run_id)
        record = self._record(run_id)
        if record is None:
            return Page()
        try:
            found = self._instance.get_records_for_run(record.dagster_run.run_id, cursor or None, limit=limit)
        except Exception as error:
            if not cursor:
                raise
            raise ConfigError(
                "cursor: it is none that an earlier page has given; leave it out to begin"
            ) from error
        return Page(
            tuple(event_of(each.event_log_entry) for each in found.records),
            found.cursor or cursor,
            found.has_more,
        )

    def printed(self, run_id: str) -> list[str]:
        """What the run's process printed, the last lines."""
        self._one(run_id)
        path = self._submissions.log(run_id)
        return path.read_text(errors="replace").splitlines()[-_PRINTED:] if path.exists() else []

    def made(self, run_id: str) -> dict[str, Any]:
        """What the run told of the asset that it made; empty: nothing yet."""
        return self._metadata(self._record(run_id))

    def figures(self, run_id: str) -> Figures:
        """Raises NotFoundError."""
        one, record, outcome = self._one(run_id), self._record(run_id), self._submissions.outcome(run_id)
        status = self._status(one, record, outcome)
        metadata = self._metadata(record)
        return Figures(
            run_id,
            status.state,
            _between(record.start_time, record.end_time) if record else None,
            outcome.cpu_seconds if outcome else None,
            outcome.memory_bytes if outcome else None,
            metadata.get("dagster/row_count"),
            metadata.get("bytes"),
            _between(one.created, record.start_time) if record else None,
        )

    def totals(self) -> Totals:
        """Counts over all submissions, from the files alone."""
        states, seconds = dict.fromkeys(STATES, 0), list[float]()
        for one in self._submissions.all():
            outcome = self._submissions.outcome(one.run_id)
            if outcome is None:
                with self._submissions.claimed(one.run_id) as free:
                    states["SUBMITTED" if free else "RUNNING"] += 1
                continue
            states["COMPLETED" if outcome.ok else "FAILED"] += 1
            seconds.append(outcome.seconds)
        ended = states["COMPLETED"] + states["FAILED"]
        return Totals(
            sum(states.values()),
            states,
            states["COMPLETED"] / ended if ended else None,
            sum(seconds) / len(seconds) if seconds else None,
            states["SUBMITTED"],
            states["RUNNING"],
        )

    def _one(self, run_id: str, sees: Sees = everywhere) -> Submission:
        if (one := self._submissions.get(run_id)) is None or not sees(one.workspace):
            raise NotFoundError(f"there is no run {run_id[:40]!r}; see GET /transform/jobs")
        return one

    def _record(self, run_id: str) -> dg.RunRecord | None:
        import dagster as dg

        found = self._instance.get_run_records(dg.RunsFilter(tags={TAG: run_id}), limit=1)
        return found[0] if found else None

    def _status(self, one: Submission, record: dg.RunRecord | None, outcome: Outcome | None) -> RunStatus:
        from pyspark import __version__ as spark

        state, run = "SUBMITTED", record.dagster_run if record else None
        if run:
            state = WORDS.get(run.status.value, run.status.value)
        if run and run.is_finished and outcome is None:  # its worker has not told yet how it went
            state = "RUNNING"
        if outcome and state in ("SUBMITTED", "RUNNING"):  # its process ended, and Dagster was not told
            state = "COMPLETED" if outcome.ok else "FAILED"
        return RunStatus(
            one.run_id, one.name, self._namespace, state, f"{one.name}-driver", one.executors, _time(one.created) or "",
            spark, one.table.replace("/", "."), one.revision,
            _time(record.start_time) if record else None,
            _time(record.end_time) if record else None,
            run.run_id if run else None,
            "; ".join(outcome.reasons) if outcome and not outcome.ok else "",
        )  # fmt: skip

    def _metadata(self, record: dg.RunRecord | None) -> dict[str, Any]:
        import dagster as dg

        if record is None:
            return {}
        kind = dg.DagsterEventType.ASSET_MATERIALIZATION
        found = self._instance.get_records_for_run(record.dagster_run.run_id, of_type=kind, limit=1)
        for each in found.records:
            if made := each.event_log_entry.asset_materialization:
                return {name: value.value for name, value in made.metadata.items()}
        return {}


def event_of(entry: dg.EventLogEntry) -> Event:
    """An entry of Dagster's log in the words of the API."""
    import logging

    event = entry.dagster_event
    message = entry.user_message or (event.message if event else "") or ""
    kind = event.event_type_value.replace("PIPELINE_", "RUN_") if event else "LOG"
    level = logging.getLevelName(entry.level)
    return Event(
        _time(entry.timestamp) or "", level, kind, _with_reason(message, event), entry.step_key or ""
    )


def _with_reason(message: str, event: Any) -> str:
    if event is None or not event.is_step_failure or event.step_failure_data.error is None:
        return message
    error = event.step_failure_data.error
    while error.cause:
        error = error.cause
    return f"{message} {error.message.strip()}"


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else max(end - start, 0.0)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
