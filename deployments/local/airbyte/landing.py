"""Lands streams as Airbyte's S3 destination lays them out: one folder a stream, one name a sync.

    <landing>/<stream>/2026_10_05_<epoch ms>_<part>.jsonl.gz      or .jsonl, or .parquet

A sync writes to `<landing>/.sync-<job>/`, which readers pass over as they do all hidden names. Publishing is a list of
renames and removals that is written down before it begins (`Move`), so a crash in the middle is finished by
the next start and never leaves half a commit. A stream's new file appears before its old ones go: a reader may
for a moment see two generations, told apart by `_airbyte_generation_id`, but never none. A full refresh that
found nothing lands an empty file, so that whoever reads the folder can tell it from one that never ran.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from deployments.local.airbyte.formats import Format, Part

SCRATCH = ".sync-"


@dataclass(frozen=True)
class Target:
    """Where and how one stream lands."""

    folder: str
    generation: int
    format: Format
    json_schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stats:
    """What one sync landed of one stream; bytes are those of the records as the connector gave them."""

    records: int = 0
    bytes: int = 0

    def __add__(self, other: Stats) -> Stats:
        return Stats(self.records + other.records, self.bytes + other.bytes)


@dataclass(frozen=True)
class Move:
    """What one commit will do. Applying it twice, or again after a crash, gives the same tree."""

    renames: list[tuple[str, str]] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    scratch: str = ""

    def apply(self) -> None:
        for hidden, shown in self.renames:
            Path(shown).parent.mkdir(parents=True, exist_ok=True)
            if not os.path.exists(shown):  # else an earlier attempt has come this far
                os.replace(hidden, shown)
        for path in self.removals:
            Path(path).unlink(missing_ok=True)
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Landing:
    """One sync's files. `add` records and `mark` checkpoints; then `take` streams into a Move, or `discard`."""

    def __init__(
        self, root: Path, job_id: int, day: date, epoch_ms: int, targets: Mapping[str, Target]
    ) -> None:
        self._root, self._job_id, self._day, self._targets = root, job_id, day, targets
        self._scratch = root / f"{SCRATCH}{job_id}"
        self._open: dict[str, Part] = {}
        self._marks: dict[str, Stats] = {}
        self._number: dict[str, int] = {}
        latest = max((_epoch(p) for t in targets.values() for p in self._files(t)), default=0)
        self._epoch = max(epoch_ms, latest + 1)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def add(self, stream: str, data: Mapping[str, Any], emitted_at: float) -> None:
        self._part(stream).add(data, emitted_at)

    def mark(self, stream: str) -> Stats:
        """Remember that what was added so far is covered by a state; returns what waits to be committed."""
        part = self._open.get(stream)
        self._marks[stream] = Stats(part.records, part.bytes) if part else Stats()
        return self._marks[stream]

    def take(
        self, streams: Mapping[str, bool], *, marked: bool = False, last: bool = False
    ) -> tuple[Move, dict[str, Stats]]:
        """How to publish what was landed of these streams, and the figures. True: it replaces earlier files.

        `marked` leaves out what no state covers. `last` also removes the scratch folder. After this the
        files are on disk, not only in memory.
        """
        renames, removals, stats = [], [], {}
        for stream, replaces in streams.items():
            target = self._targets[stream]
            earlier = self._files(target) if replaces else []
            if replaces:
                self._part(stream)  # also where nothing came: an empty file says so
            part = self._open.pop(stream, None)
            if part is None:
                continue
            part.close()
            kept = Stats(part.records, part.bytes)
            if marked:
                kept = self._marks.get(stream, Stats())
                part.cut(kept.records)
            if kept.records or replaces:
                number = self._number.get(stream, 0)
                self._number[stream] = number + 1
                name = f"{self._day:%Y_%m_%d}_{self._epoch}_{number}{target.format.extension}"
                renames.append((str(part.path), str(self._root / target.folder / name)))
            removals += [str(path) for path in earlier]
            stats[stream] = kept
            self._marks.pop(stream, None)
        return Move(renames, removals, str(self._scratch) if last else ""), stats

    def discard(self) -> None:
        for part in self._open.values():
            part.close()
        self._open = {}
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _files(self, target: Target) -> list[Path]:
        return sorted(p for p in (self._root / target.folder).glob("*") if _epoch(p))

    def _part(self, stream: str) -> Part:
        if stream not in self._open:
            self._scratch.mkdir(parents=True, exist_ok=True)
            target = self._targets[stream]
            number = self._number.get(stream, 0)
            path = self._scratch / f"{target.folder}.{number}{target.format.extension}"
            self._open[stream] = target.format.part(path, self._job_id, target.generation, target.json_schema)
        return self._open[stream]


def folder_of(prefix: str, stream: str) -> str:
    """A stream's folder: its prefixed name, with what a path or a table name cannot hold replaced."""
    letters = unicodedata.normalize("NFKD", prefix + stream)
    plain = "".join(c for c in letters if not unicodedata.category(c).startswith("M"))
    return re.sub(r"[^A-Za-z0-9/!_.*')(&$@=;:+,?-]", "_", plain)


def clear_scratch(root: Path) -> None:
    """Remove what syncs that a crash interrupted have left behind."""
    for folder in root.glob(f"{SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _epoch(path: Path) -> int:
    found = re.match(r"\d{4}_\d\d_\d\d_(\d+)_\d+\.(jsonl|jsonl\.gz|parquet)$", path.name)
    return int(found[1]) if found else 0
