"""Batch plans: what a load will read, written down before it reads.

LoadPlan N of a source is an immutable file of JSON lines, gzipped: what it is, then each file as
`[path, size, time, etag, ds]`. The commit that publishes a day
carries N as the transaction number of `source/day`, and the plan says which number that day had before. So the
plans that were committed for a day are exactly those on the chain that begins at the day's transaction number:
a load that was killed before its commit has left a plan on no chain, and no other day can hide it.

`replaces: true` begins a chain anew: the day's files are those of this plan and no others.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgard_assets.ingest.files.landing import File
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import plan_id

_SUFFIX = ".jsonl.gz"
_HEAD_BYTES = 64 << 10


@dataclass(frozen=True)
class LoadPlan:
    """The files that load number `number` of a source reads, by day.

    `previous` is each day's transaction number when the plan was made (0: none): the commit may only follow
    that one. Days without files are named there too.
    """

    source: str
    number: int
    previous: Mapping[str, int]
    files: Mapping[str, tuple[File, ...]]
    replaces: bool = False

    @property
    def transactions(self) -> dict[str, int]:
        """Transaction identifier and number of each day, as the commit must carry them."""
        return {plan_id(self.source, day): self.number for day in self.previous}


def write_plan(
    lake: Lake,
    source: str,
    previous: Mapping[str, int],
    files: Mapping[str, Iterable[File]],
    replaces: bool = False,
) -> LoadPlan:
    """Write the source's next plan, atomically, under a number that no other plan has."""
    number = max([*plan_numbers(lake, source), *previous.values()], default=0)
    listed = {day: tuple(sorted(found)) for day, found in files.items()}
    while True:
        number += 1
        plan = LoadPlan(source, number, dict(previous), listed, replaces)
        if lake.put_new(_path(source, number), _content(plan)):
            return plan


@dataclass(frozen=True)
class PlanFile:
    """A plan of which no more than the beginning was read: there may be a million files in it."""

    lake: Lake
    source: str
    number: int
    previous: Mapping[str, int]
    replaces: bool
    _whole: bytes | None

    def plan(self) -> LoadPlan:
        """All of it."""
        content = self._whole
        if content is None:
            content = self.lake.get(_path(self.source, self.number))
        files: dict[str, list[File]] = {}
        for path, size, modified_us, etag, day in rows_of(gzip.decompress(content).partition(b"\n")[2]):
            files.setdefault(day, []).append(File(path, size, modified_us, etag))
        listed = {day: tuple(found) for day, found in files.items()}
        return LoadPlan(self.source, self.number, self.previous, listed, self.replaces)


def open_plan(lake: Lake, source: str, number: int) -> PlanFile | None:
    """Plan `number`; None where its file is gone."""
    try:
        content = lake.get(_path(source, number), size=_HEAD_BYTES)
    except FileNotFoundError:
        return None
    whole = content if len(content) < _HEAD_BYTES else None
    if b"\n" not in (text := zlib.decompressobj(wbits=31).decompress(content)):
        text = gzip.decompress(lake.get(_path(source, number)))
    told = json.loads(text.partition(b"\n")[0])
    return PlanFile(lake, source, number, told["previous"], told["replaces"], whole)


def read_plan(lake: Lake, source: str, number: int) -> LoadPlan | None:
    """Plan `number` with its files; None where its file is gone."""
    found = open_plan(lake, source, number)
    return found.plan() if found else None


def plan_numbers(lake: Lake, source: str, above: int = 0) -> list[int]:
    """Numbers of the plans that were ever written, in order."""
    written = (name for name in lake.names(folder(source)) if name.endswith(_SUFFIX))
    return [number for name in written if (number := int(name[:8])) > above]


def folder(source: str) -> str:
    """Where the plans lie under the lake's root."""
    return f"_plans/{source}"


def lines(rows: Iterable[tuple[Any, ...]]) -> bytes:
    """Rows (path, size, modified_us, etag, ds) as they are written down, here and in the manifest."""
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()


def rows_of(text: bytes) -> list[list[Any]]:
    """What `lines` wrote."""
    return json.loads(b"[" + text.rstrip(b"\n").replace(b"\n", b",") + b"]")


def _path(source: str, number: int) -> str:
    return f"{folder(source)}/{number:08d}{_SUFFIX}"


def _content(plan: LoadPlan) -> bytes:
    told = {
        "previous": dict(plan.previous),
        "replaces": plan.replaces,
        "written_at": datetime.now(UTC).isoformat(),
    }
    listed = (
        (f.path, f.size, f.modified_us, f.etag, day) for day, files in plan.files.items() for f in files
    )
    return gzip.compress(json.dumps(told).encode() + b"\n" + lines(listed), 4, mtime=0)
