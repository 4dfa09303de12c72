"""Lands streams as Airbyte's S3 destination lays out JSON lines (GZIP, root-level flattening).

    <landing>/<stream>/2026_10_05_<epoch ms>_0.jsonl.gz
    {"_airbyte_raw_id": …, "_airbyte_extracted_at": <ms>, "_airbyte_meta": {…}, "_airbyte_generation_id": n, **data}

A sync writes to `<landing>/.sync-<job>/`, which readers pass over as they do all hidden names. Publishing is a list of
renames and removals that is written down before it begins (`Move`), so a crash in the middle is finished by
the next start and never leaves half a sync. A stream's new file appears before its old ones go: a reader may
for a moment see two generations, told apart by `_airbyte_generation_id`, but never none.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

SCRATCH = ".sync-"


@dataclass(frozen=True)
class Stats:
    """What one sync landed of one stream; bytes are those of the records as the connector gave them."""

    records: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Move:
    """What publishing a sync will do. Applying it twice, or again after a crash, gives the same tree."""

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
    """One sync's files. `add` records, then `close` and `move`; or `discard`."""

    def __init__(self, root: Path, job_id: int, day: date, generations: Mapping[str, int]) -> None:
        self._root = root
        self._scratch = root / f"{SCRATCH}{job_id}"
        self._day = day
        self._job_id = job_id
        self._generations = generations
        self._files: dict[str, BinaryIO] = {}
        self._stats: dict[str, Stats] = {}
        shutil.rmtree(self._scratch, ignore_errors=True)

    def add(self, folder: str, data: Mapping[str, Any], emitted_at: float) -> None:
        body = orjson.dumps(data)
        row = {
            "_airbyte_raw_id": str(uuid.uuid4()),
            "_airbyte_extracted_at": int(emitted_at),
            "_airbyte_meta": {"sync_id": self._job_id, "changes": []},
            "_airbyte_generation_id": self._generations[folder],
            **data,
        }
        self._file(folder).write(orjson.dumps(row) + b"\n")
        before = self.stats_of(folder)
        self._stats[folder] = Stats(before.records + 1, before.bytes + len(body))

    def stats_of(self, folder: str) -> Stats:
        return self._stats.get(folder, Stats())

    def close(self) -> None:
        """After this the files are on disk, not only in memory."""
        for folder, file in self._files.items():
            file.close()
            with open(self._hidden(folder), "rb") as written:
                os.fsync(written.fileno())
        self._files = {}

    def move(self, overwritten: set[str], epoch_ms: int) -> Move:
        """How to publish what was landed. The streams in `overwritten` lose all their earlier files."""
        renames, removals = [], []
        for folder in sorted(self._generations):
            target = self._root / folder
            earlier = sorted(target.glob("*.jsonl.gz"))
            if folder in self._stats:
                latest = max((_epoch(path) for path in earlier), default=0)
                name = f"{self._day:%Y_%m_%d}_{max(epoch_ms, latest + 1)}_0.jsonl.gz"
                renames.append((str(self._hidden(folder)), str(target / name)))
            if folder in overwritten:
                removals += [str(path) for path in earlier]
        return Move(renames, removals, str(self._scratch))

    def discard(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _hidden(self, folder: str) -> Path:
        return self._scratch / f"{folder}.jsonl.gz"

    def _file(self, folder: str) -> BinaryIO:
        if folder not in self._files:
            self._scratch.mkdir(parents=True, exist_ok=True)
            # mtime=0: the same rows give the same bytes. Level 6 is twice as fast as Python's default of 9.
            file = cast(BinaryIO, gzip.GzipFile(self._hidden(folder), "wb", compresslevel=6, mtime=0))
            self._files[folder] = file
        return self._files[folder]


def folder_of(prefix: str, stream: str) -> str:
    """A stream's folder: its prefixed name, with what a path or a table name cannot hold replaced."""
    return re.sub(r"[^A-Za-z0-9_]", "_", prefix + stream)


def clear_scratch(root: Path) -> None:
    """Remove what syncs that a crash interrupted have left behind."""
    for folder in root.glob(f"{SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _epoch(path: Path) -> int:
    found = re.match(r"\d{4}_\d\d_\d\d_(\d+)_\d+\.jsonl\.gz$", path.name)
    return int(found[1]) if found else 0
