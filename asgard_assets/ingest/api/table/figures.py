"""What a Spark task hands back: figures, never rows; and the summary of a whole job."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from asgard_assets.ingest.api.source.payload import merge
from asgard_assets.ingest.api.table.bronze import RETRYABLE, SUCCESS

SAMPLES = 10
_HOSTS = 10
_MOMENTS = 600


@dataclass
class Figures:
    """Of one task, or of many added up. `outcomes` is rows by day and outcome."""

    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    throttles: int = 0
    unchanged: int = 0  # rows that a 304 kept as they were published
    bytes: int = 0
    seconds: float = 0.0
    max_in_flight: int = 0
    workers: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)  # files of notes about the lists of parents
    failures: list[dict[str, Any]] = field(default_factory=list)
    pagination: str = ""  # what was found, where it was not declared
    waits: list[dict[str, Any]] = field(default_factory=list)  # times in which the API was closed; of the job
    notes: list[str] = field(default_factory=list)  # what a reader should know, though nothing failed
    cursors: dict[str, Any] = field(default_factory=dict)  # by day, where its walk ended
    shape: Any = None  # what the payloads look like, where that is to be told
    drift: dict[str, int] = field(default_factory=dict)  # payloads that do not fit, by kind and path
    fields: list[str] = field(default_factory=list)  # of typed payloads, those that came
    hosts: dict[str, list[float]] = field(default_factory=dict)  # tries, bad ones, seconds, the slowest's
    pace: dict[int, int] = field(default_factory=dict)  # requests by second since 1970, or by a few of them
    usable: bool = False  # some answer was usable, so the API is there and lets us in
    aborted: bool = False  # the breaker ended the task before all its rows had an outcome
    unreachable: str = ""
    refused: str = ""

    def count(self, day: str, outcome: str, rows: int = 1) -> None:
        of_day = self.outcomes.setdefault(day, {})
        of_day[outcome] = of_day.get(outcome, 0) + rows

    def sample(self, **failure: Any) -> None:
        if len(self.failures) < SAMPLES:
            self.failures.append(failure)

    def sent(self, second: int, requests: int) -> None:
        """Count requests of that second; of a long task neighbouring seconds are added up."""
        self.pace[second] = self.pace.get(second, 0) + requests
        if len(self.pace) > _MOMENTS:
            width, old = max(1, (max(self.pace) - min(self.pace)) // (_MOMENTS // 2)), self.pace
            self.pace = {}
            for moment, count in old.items():
                start = moment - moment % width
                self.pace[start] = self.pace.get(start, 0) + count

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def total(cls, parts: Iterable[str]) -> Figures:
        """Add up what the tasks handed back. Tasks run side by side: in flight adds up, seconds do not."""
        total = cls()
        for part in parts:
            one = cls(**json.loads(part))
            for day, outcomes in one.outcomes.items():
                for outcome, rows in outcomes.items():
                    total.count(day, outcome, rows)
            total.requests += one.requests
            total.retries += one.retries
            total.throttles += one.throttles
            total.unchanged += one.unchanged
            total.bytes += one.bytes
            total.seconds = max(total.seconds, one.seconds)
            total.max_in_flight += one.max_in_flight
            total.workers += one.workers
            total.files += one.files
            total.kept += one.kept
            total.noted += one.noted
            total.failures = (total.failures + one.failures)[:SAMPLES]
            total.pagination = total.pagination or one.pagination
            total.cursors |= one.cursors
            total.notes = list(dict.fromkeys([*total.notes, *one.notes]))[:SAMPLES]
            total.shape = merge(total.shape, one.shape)
            for moment, requests in one.pace.items():
                total.sent(int(moment), requests)  # JSON has made a text of it
            for host, (tries, bad, seconds, slowest) in one.hosts.items():
                known = total.hosts.get(host, [0, 0, 0.0, 0.0])
                total.hosts[host] = [
                    known[0] + tries,
                    known[1] + bad,
                    known[2] + seconds,
                    max(known[3], slowest),
                ]
            total.fields = sorted({*total.fields, *one.fields})
            for path, payloads in one.drift.items():
                total.drift[path] = total.drift.get(path, 0) + payloads
            total.usable = total.usable or one.usable
            total.aborted = total.aborted or one.aborted
            total.unreachable = total.unreachable or one.unreachable
            total.refused = total.refused or one.refused
        return total


@dataclass(frozen=True)
class HostFigures:
    """How a host answered: tries, those with a server error or no answer, mean and longest time."""

    host: str
    tries: int
    bad: int
    mean_seconds: float
    slowest_seconds: float


def slowest(hosts: Mapping[str, Sequence[float]]) -> tuple[HostFigures, ...]:
    """The hosts with the longest mean time to an answer."""
    found = (
        HostFigures(host, int(tries), int(bad), round(seconds / tries, 4), round(longest, 4))
        for host, (tries, bad, seconds, longest) in hosts.items()
    )
    return tuple(sorted(found, key=lambda host: -host.mean_seconds)[:_HOSTS])


@dataclass(frozen=True)
class Summary:
    """What one call of the engine did.

    `outcomes` is rows by day and outcome, carried ones included; `carried` are the rows by day that a resume
    took over without sending; `requests` counts every try; `unchanged` are the rows that a 304
    kept. `ran_in` is process, spark or both, with the reason in `why`. `hosts` are the slowest ones, `pace` is requests by second since 1970 (of a long run, by a few
    seconds). `duplicates` are items that a declared key dropped,
    `pagination` is what was found where it was not declared, `cursor` where an incremental walk ended,
    `drift` counts payloads that did not fit their schema, and names fields that none had. `notes` are warnings, `waits`
    the times for which the API asked to wait. `version` is None while nothing is published.
    """

    source: str
    days: tuple[str, ...]
    modes: Mapping[str, str]
    outcomes: Mapping[str, Mapping[str, int]]
    carried: Mapping[str, int]
    requests: int
    retries: int
    throttles: int
    bytes: int
    seconds: float
    max_in_flight: int
    workers: tuple[int, ...]
    failures: tuple[Mapping[str, Any], ...] = ()
    duplicates: Mapping[str, int] = field(default_factory=dict)
    pagination: str = ""
    cursor: Any = None
    drift: Mapping[str, int] = field(default_factory=dict)
    hosts: tuple[HostFigures, ...] = ()
    pace: Mapping[int, int] = field(default_factory=dict)
    unchanged: int = 0
    notes: tuple[str, ...] = ()
    waits: tuple[Mapping[str, Any], ...] = ()
    children: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # rows of child tables, by day
    ran_in: str = ""
    why: str = ""
    version: int | None = None
    bad_days: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def by_outcome(self) -> dict[str, int]:
        """Rows by outcome, all days together."""
        found: dict[str, int] = {}
        for outcomes in self.outcomes.values():
            for outcome, rows in outcomes.items():
                found[outcome] = found.get(outcome, 0) + rows
        return found

    def told(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return asdict(self) | {"rows": self.rows, "requests_per_second": self.requests_per_second}

    @property
    def rows(self) -> int:
        return sum(sum(by.values()) for by in self.outcomes.values())

    @property
    def succeeded(self) -> int:
        return sum(by.get(SUCCESS, 0) for by in self.outcomes.values())

    @property
    def retryable(self) -> int:
        return sum(by.get(RETRYABLE, 0) for by in self.outcomes.values())

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0
