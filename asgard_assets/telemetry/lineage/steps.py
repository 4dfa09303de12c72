"""What is known of one step that made one table: what lineage events are built from."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

End = Literal["COMPLETE", "FAIL", "ABORT"]
_NAMES = uuid.UUID("6f3e2f0a-0d0b-5a52-9d43-6b1f2a3c4d5e")


@dataclass(frozen=True)
class Column:
    """One column of a table; `made_of` are the columns that it is known to be computed from."""

    name: str
    type: str = ""
    description: str = ""
    made_of: Sequence[tuple[Place, str]] = ()


@dataclass(frozen=True)
class Place:
    """How OpenLineage names a dataset. A table of the lake: the lake's root, and `stage/table`."""

    namespace: str
    name: str


@dataclass(frozen=True)
class Dataset:
    """A dataset as far as it is known."""

    place: Place
    columns: Sequence[Column] = ()
    description: str = ""
    uri: str = ""


@dataclass(frozen=True)
class Assertion:
    """The result of one check of the table."""

    check: str
    passed: bool
    severity: Literal["error", "warn"] = "error"


@dataclass(frozen=True)
class Step:
    """One table that one run made, or tried to. `end` is None while it is at work."""

    run_id: str
    job: str
    asset: str
    started: datetime
    output: Dataset
    inputs: Sequence[Dataset] = ()
    ended: datetime | None = None
    end: End | None = None
    error: str = ""
    partitions: Sequence[str] = ()
    owners: Sequence[str] = ()
    rows: int | None = None
    bytes: int | None = None
    version: str = ""
    checks: Sequence[Assertion] = ()
    streaming: bool = False
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def id(self) -> str:
        """Equal for the same run and asset: an event that is sent twice is the same event."""
        return str(uuid.uuid5(_NAMES, f"{self.run_id}/{self.asset}"))
