"""The manifest: every file that a source ever loaded, by name, without reading or listing all of them each time.

The truth is in the table: its transaction numbers say which plans were committed, and those plans name the
files. The manifest is that truth folded into one Parquet file sorted by path, and the plans committed since. It
can be deleted at any time: it is made again from the plans. Nothing here holds more than one row group of it
in memory.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.landing import File
from asgard_assets.ingest.files.plans import (
    Plan,
    app_id,
    file_fields,
    frugal,
    plan_numbers,
    read_plan,
    write_once,
)
from asgard_assets.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_FOLD_PLANS = 64
_FOLD_FILES = 50_000
_GROUP_ROWS = 8_192
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Known:
    """A loaded file, as it was when it was loaded, and the day of its rows' load."""

    file: File
    ds: str


@dataclass(frozen=True)
class Manifest:
    """What was loaded up to now. `numbers` is each day's transaction number.

    `broken` names days that were loaded, but whose plans are gone: of them nothing is known, and a load of such
    a day must replace the rows of its files rather than add them.
    """

    lake: Lake
    source: str
    base: str | None
    numbers: Mapping[str, int]
    broken: frozenset[str]
    _since: Mapping[str, Known] = field(repr=False)
    _dropped: frozenset[str] = field(repr=False)
    _replaced_days: frozenset[str] = field(repr=False)
    _plans: int = 0

    def entries(self, after: str = "") -> Iterator[Known]:
        """The loaded files behind `after`, in name order."""
        recent = sorted(path for path in self._since if path > after)
        position = 0
        for known in self._base_entries(after):
            while position < len(recent) and recent[position] < known.file.path:
                yield self._since[recent[position]]
                position += 1
            if known.file.path not in self._since and known.ds not in self._replaced_days:
                yield known
        yield from (self._since[path] for path in recent[position:])

    def of_days(self, days: frozenset[str] | set[str]) -> dict[str, Known]:
        """The loaded files of some days, by path. Memory grows with their number."""
        return {known.file.path: known for known in self._select("ds", days)}

    def of_paths(self, paths: list[str]) -> dict[str, Known]:
        """What is known of these files, by path."""
        return {known.file.path: known for known in self._select("path", set(paths))}

    def _select(self, column: str, values: frozenset[str] | set[str]) -> Iterator[Known]:
        import pyarrow as pa
        import pyarrow.compute as pc

        # An expression would bring in pyarrow's datasets, and with them pandas: 50 MB.
        chosen = pc.SetLookupOptions(pa.array(sorted(values), pa.string()))
        if self.base is not None and values:
            low, high = min(values), max(values)
            for batch in _groups(
                self.lake, self.base, low if column == "path" else "", high if column == "path" else None
            ):
                for known in _rows(batch.filter(pc.call_function("is_in", [batch[column]], chosen))):
                    if known.file.path not in self._since and known.ds not in self._replaced_days:
                        yield known
        for path, known in self._since.items():
            if (path if column == "path" else known.ds) in values:
                yield known

    def _base_entries(self, after: str) -> Iterator[Known]:
        if self.base is None:
            return
        for batch in _groups(self.lake, self.base, after):
            for known in _rows(batch):
                if known.file.path > after:
                    yield known


def open_manifest(lake: Lake, source: str, fold: bool = False) -> Manifest:
    """The manifest as the table says now. With `fold`, plans committed since are folded in where they are many.

    Costs one look at the table, one listing of the plans' names, and a read of each plan since the last fold.
    """
    table = lake.table("bronze", source)
    base, told = _newest_base(lake, source)
    numbers: dict[str, int] = dict(told.get("numbers", {}))
    if any(_number(table, source, day) < number for day, number in numbers.items()):
        base, told, numbers = None, {}, {}  # the table was restored to an earlier version
    wanted = [*told.get("open", ()), *plan_numbers(lake, source, above=told.get("examined", 0))]
    plans = {n: plan for n in wanted if (plan := read_plan(lake, source, n)) is not None}
    folded = dict(numbers)
    since: dict[str, Known] = {}
    broken, replaced, undecided = set[str](told.get("broken", ())), set[str](), set[int]()
    committed: dict[int, set[str]] = {}
    for day in sorted({day for plan in plans.values() for day in plan.previous}):
        current = _number(table, source, day)
        whole, links = _chain(plans, day, current, folded.get(day, 0))
        if whole:
            broken.discard(day)
        elif whole is None:
            broken.add(day)
        for number in links:
            committed.setdefault(number, set()).add(day)
        numbers[day] = current
        undecided |= {n for n, p in plans.items() if p.previous.get(day) == current}
    for number in sorted(committed):
        plan = plans[number]
        if plan.replaces:
            replaced |= committed[number]
            since = {path: known for path, known in since.items() if known.ds not in committed[number]}
        for day in committed[number]:
            since |= {f.path: Known(f, day) for f in plan.files.get(day, ())}
    manifest = Manifest(
        lake,
        source,
        base,
        numbers,
        frozenset(broken),
        since,
        frozenset(),
        frozenset(replaced),
        len(plans),
    )
    if fold and (len(plans) > _FOLD_PLANS or len(since) > _FOLD_FILES):
        return _fold(manifest, max(plans), sorted(undecided))
    return manifest


def _number(table: DeltaTable | None, source: str, day: str) -> int:
    return (table.transaction_version(app_id(source, day)) or 0) if table else 0


def _chain(plans: Mapping[int, Plan], day: str, current: int, folded: int) -> tuple[bool | None, list[int]]:
    """Committed plans of a day above what is folded; True where they begin anew, None where one is missing."""
    links: list[int] = []
    while current > folded:
        plan = plans.get(current)
        if plan is None or day not in plan.previous:
            return None, links
        links.append(current)
        if plan.replaces:
            return True, links
        current = plan.previous[day]
    return (False if current == folded else None), links


def _fold(manifest: Manifest, examined: int, undecided: list[int]) -> Manifest:
    """Write a new base that holds everything known, and drop the one before the last."""
    import pyarrow.parquet as pq

    lake, source = manifest.lake, manifest.source
    folder = _folder(lake, source)
    names = _bases(lake, source)
    sequence = int(names[-1][:8]) + 1 if names else 1
    told = {
        "examined": examined,
        "open": undecided,
        "numbers": dict(manifest.numbers),
        "broken": sorted(manifest.broken),
    }
    schema = file_fields().with_metadata({"manifest": json.dumps(told)})
    draft = f"{folder}/.{uuid.uuid4().hex}"
    lake.filesystem.create_dir(folder, recursive=True)
    with pq.ParquetWriter(draft, schema, filesystem=lake.filesystem, compression="zstd") as writer:
        group: list[tuple[Any, ...]] = []
        for known in manifest.entries():
            f = known.file
            group.append((f.path, f.size, f.modified_us, f.etag, known.ds))
            if len(group) == _GROUP_ROWS:
                writer.write_batch(_batch(group, schema))
                group = []
        if group:
            writer.write_batch(_batch(group, schema))
    target = f"{folder}/{sequence:08d}.parquet"
    with lake.filesystem.open_input_file(draft) as file:
        write_once(lake, target, file.read())
    lake.filesystem.delete_file(draft)
    for old in names[:-1]:
        lake.filesystem.delete_file(f"{folder}/{old}")
    return Manifest(lake, source, target, manifest.numbers, manifest.broken, {}, frozenset(), frozenset(), 0)


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    columns = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _groups(lake: Lake, base: str, low: str, high: str | None = None) -> Iterator[pa.Table]:
    """Row groups that may hold paths from `low` to `high`, one at a time."""
    with lake.filesystem.open_input_file(base) as file:
        parquet = frugal(file)
        for index in range(parquet.num_row_groups):
            stats = parquet.metadata.row_group(index).column(0).statistics
            if (
                stats is not None
                and stats.has_min_max
                and (stats.max < low or (high is not None and stats.min > high))
            ):
                continue
            yield parquet.read_row_group(index, use_threads=False)


def _rows(table: pa.Table) -> Iterator[Known]:
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        columns = [column.to_pylist() for column in table.slice(start, _ROWS_AT_ONCE).columns]
        for path, size, modified_us, etag, ds in zip(*columns, strict=True):
            yield Known(File(path, size, modified_us, etag), ds)


def _folder(lake: Lake, source: str) -> str:
    return f"{lake.root.removeprefix('s3://')}/_manifest/{source}"


def _bases(lake: Lake, source: str) -> list[str]:
    from pyarrow import fs as pafs

    infos = lake.filesystem.get_file_info(pafs.FileSelector(_folder(lake, source), allow_not_found=True))
    return sorted(i.base_name for i in infos if i.base_name.endswith(".parquet") and i.base_name[0] != ".")


def _newest_base(lake: Lake, source: str) -> tuple[str | None, dict[str, Any]]:
    names = _bases(lake, source)
    if not names:
        return None, {}
    path = f"{_folder(lake, source)}/{names[-1]}"
    with lake.filesystem.open_input_file(path) as file:
        metadata = frugal(file).schema_arrow.metadata or {}
    return path, json.loads(metadata[b"manifest"])
