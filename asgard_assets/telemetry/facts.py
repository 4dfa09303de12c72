"""What is known of runs, tables and streams at one moment. Nothing here is measured twice: others recorded it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ENDED = ("success", "failure", "canceled")
"""States in which a run stays."""


@dataclass(frozen=True)
class RunFact:
    """One run. `state` in Dagster's words, lower case; seconds are None while they are not known."""

    state: str
    assets: Sequence[str] = ()
    waited_seconds: float | None = None
    seconds: float | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass
class AssetRun:
    """What one run told of one asset that it made."""

    asset: str
    rows: int = 0
    bytes: int = 0
    requests: int = 0
    retries: int = 0
    throttles: int = 0
    requests_per_second: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    outcomes: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class TableFact:
    """A table of the lake as it is now. `published_at` in seconds since 1970; None where the log does not say."""

    table: str
    rows: int
    bytes: int
    files: int
    partitions: int
    published_at: float | None = None


@dataclass(frozen=True)
class LagFact:
    """How far a stream's table is behind one partition of its topic."""

    table: str
    topic: str
    partition: int
    lag: int
    offset: int


@dataclass(frozen=True)
class SlotFact:
    """A replication slot, and how many bytes of its database's log it keeps from being removed."""

    database: str
    slot: str
    active: bool
    held_bytes: int


@dataclass(frozen=True)
class Facts:
    """Everything at one moment. `unread`: parts that could not be read, with the reason; the others are whole."""

    runs: Sequence[RunFact] = ()
    made: Sequence[AssetRun] = ()
    tables: Sequence[TableFact] = ()
    lags: Sequence[LagFact] = ()
    slots: Sequence[SlotFact] = ()
    transforms: Mapping[str, int] = field(default_factory=dict[str, int])
    unread: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 0.0
