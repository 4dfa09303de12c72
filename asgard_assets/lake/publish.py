"""The lake: Delta tables at `{root}/{stage}/{table}`, and the one way in which every stage writes them.

Stage, audit, publish. `Lake.stage` opens a folder inside the table that no Delta reader looks at; any engine
writes Parquet files there, laid out `ds=2026-10-05/…`. They are audited where they lie. `Lake.publish` then
adds those same files, and removes the ones that they replace, in one commit: nothing is copied, bad data is
never visible, and a range of days is one commit.

Every published day carries a transaction number (Delta protocol, "Transaction Identifiers"). A writer
remembers the number it saw when it began and commits the next one; Delta refuses the commit where somebody
published that day in between. So a stalled writer can never overwrite its successor, without any clock.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from asgard_assets.errors import FencedError, LakeError
from asgard_assets.lake.changes import lost
from asgard_assets.lake.changes.columns import merged
from asgard_assets.lake.commit import Change, PropertyChange, RestoreChange, commit
from asgard_assets.lake.likeness import Likeness, LivePart, built_from
from asgard_assets.lake.numbers import publish_id, refuse_own, rows_of, seen_id
from asgard_assets.lake.reader import DS as DS
from asgard_assets.lake.reads import Reads
from asgard_assets.lake.snapshot import TableLog
from asgard_assets.lake.staging import LakeStaging, partition_folder
from asgard_assets.lake.staging import Staging as Staging
from asgard_assets.lake.statistics import file_statistics, without_floats
from asgard_assets.windows import key_in, slice_of, window_of

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable


@dataclass(frozen=True)
class Published:
    """What one commit made visible. `rows` is per day; an unpartitioned table has the day ''."""

    table: str
    version: int
    rows: Mapping[str, int]
    files: int
    bytes: int
    replaced_files: int = field(default=0)


@dataclass(frozen=True)
class Rewrite:
    """For `Lake.amend`: the live files that it was decided on, and by path what takes the place of some.

    Raises FencedError where another load changed the table since: which row is the newest must be decided anew.
    """

    table: str
    live: frozenset[str]
    instead: Mapping[str, Sequence[str]]

    def __call__(self, live: Sequence[LivePart]) -> Mapping[str, Sequence[str]]:
        if {part.path for part in live} != self.live:
            raise FencedError(
                f"{self.table}: another load changed the table while this one was working; nothing of this one was "
                "written. Run it again.",
                table=self.table,
                days=[],
            )
        return self.instead


@dataclass(frozen=True)
class Lake(LakeStaging):
    """The lake with its one way to write."""

    def publish(
        self,
        staging: Staging,
        days: Sequence[str] | None = None,
        plans: Mapping[str, int] | None = None,
        metadata: Mapping[str, Any] | None = None,
        replace_schema: bool = False,
        reads: Reads | None = None,
        volatile: Collection[str] = (),
    ) -> Published:
        """Make the staged days visible in one commit; they replace those days (or the whole table).

        `days` defaults to all staged days; a day without files becomes an empty, published day. `plans`
        carries further transaction numbers (a loader's batch plans). `replace_schema` makes the table's
        columns those of `staging.schema`, for a writer that replaces every row; otherwise a column stays as long
        as a file holds it. `reads` is what the days were built from; columns in `volatile` do not make a row another one.
        Raises FencedError where another writer published one of the days since `stage`, LakeError
        where a column changed its type or the table its partitioning.
        """
        import pyarrow as pa

        refuse_own(staging.table, plans or {})
        chosen = tuple(dict.fromkeys(staging.days if days is None else days)) or ("",)
        adds, rows = self._add_actions(staging, chosen)
        written = _written(self, staging, adds)
        fences = {publish_id(day): staging.seen[day] + 1 for day in chosen} | dict(plans or {})
        partition_by = staging.partition_by or None
        filters = [(DS, "in", [window_of(day) for day in chosen])] if staging.partitioned else None
        replaced: list[str] = []
        log, likeness = self._log(staging), Likeness(self, _unsliced(staging, staging.schema.names), volatile)

        def change(table: DeltaTable) -> Change:
            _refuse_other_partitioning(staging, table)
            if staging.dimension:  # what removes single files cannot change the columns too
                self._add_columns(staging, table)
            present = log.numbers(table.version())
            _refuse_fenced(staging, chosen, present)
            everything = self.parts(table)
            before = _by_day(part for part in everything if (part.day or "") in chosen)
            gone = [part for parts in before.values() for part in parts]
            replaced[:] = [part.uri for part in gone]
            kept = [part for part in everything if (part.day or "") not in chosen]
            old = pa.schema(table.schema().to_arrow())
            schema = staging.schema
            if staging.dimension:
                schema = old
            elif not replace_schema:
                schema = merged(staging.table, old, schema, lambda names: self.holding(table, kept, names))
            changed = likeness.changed(
                {day: before.get(day, []) for day in chosen},
                written,
                present,
                {*_unsliced(staging, [*schema.names, *old.names])},
            )
            numbers = fences | self._built_from(log, table, chosen, changed, reads)
            removes = [_remove_action(staging, part) for part in gone] if staging.dimension else []
            return Change(
                [*removes, *adds],
                "append" if staging.dimension else "overwrite",
                schema,
                partition_by,
                None if staging.dimension else filters,
                numbers,
                metadata or {},
                rebase=not replaced,
            )

        self._create(staging)
        version = self._commit(log, change)
        size = sum(action.size for action in adds)
        return Published(staging.table, version, rows, len(adds), size, len(replaced))

    def amend(
        self,
        staging: Staging,
        rewrite: Callable[[Sequence[LivePart]], Mapping[str, Sequence[str]]],
        plans: Mapping[str, tuple[int, int]],
        days: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        volatile: Collection[str] = (),
        code: int = 0,
    ) -> Published:
        """Add the staged files of `days` to what is there, and replace single live files, in one commit.

        `rewrite` is shown the live files of the snapshot that the commit follows; it returns, by path, the
        addresses of those that take their place (under `staging.path`, in the same day), and is asked again
        where another commit came in between. `plans` has for each transaction identifier the number that it
        must have and the one that it gets. `code` is the version of what wrote `days`. Raises FencedError where it has another one, LakeError where a
        column changed its type.
        """
        import pyarrow as pa

        refuse_own(staging.table, plans)
        staged = self.staged_files(staging)
        chosen = [day for day in (staging.days if days is None else days) if day in staged]
        adds, rows = self._add_actions(staging, chosen)
        again: list[Any] = []
        removes: list[Any] = []
        log, likeness = self._log(staging), Likeness(self, _unsliced(staging, staging.schema.names), volatile)

        def change(table: DeltaTable) -> Change:
            _refuse_other_partitioning(staging, table)
            self._add_columns(staging, table)
            present = log.numbers(table.version())
            _refuse_loaded(staging, plans, present)
            live = {part.path: part for part in self.parts(table)}
            instead = rewrite(list(live.values()))
            removes[:] = [_remove_action(staging, live[path]) for path in instead]
            again[:] = [
                self._add_action(staging, live[path].day, uri)
                for path, uris in instead.items()
                for uri in uris
            ]
            days = sorted({*chosen, *(live[path].day for path in instead)})
            numbers = {publish_id(day): present.get(publish_id(day), 0) + 1 for day in days}
            numbers |= {app: number for app, (_, number) in plans.items()}
            schema = pa.schema(table.schema().to_arrow())
            written = _written(self, staging, [*again, *adds])
            gone = _by_day(live[path] for path in instead)
            changed = likeness.changed(
                {day: gone.get(day, []) for day in days}, written, present, _unsliced(staging, schema.names)
            )
            reads = Reads(code=code, only=frozenset(chosen)) if code else None
            numbers |= self._built_from(log, table, days, changed, reads)
            return Change(
                [*removes, *again, *adds],
                "append",
                schema,
                staging.partition_by or [DS],
                transactions=numbers,
                metadata=metadata or {},
                rebase=False,  # `rewrite` sees the files of every commit in between
            )

        self._create(staging)
        version = self._commit(log, change)
        written = [*adds, *again]
        size = sum(action.size for action in written)
        return Published(staging.table, version, rows, len(written), size, len(removes))

    def retype(
        self,
        stage: str,
        name: str,
        widened: Callable[[pa.Schema], pa.Schema],
        cast: Callable[[pa.Table, pa.Schema], pa.Table],
        changes_rows: bool = False,
    ) -> int:
        """Give the table the schema that `widened` makes of its own, every live file rewritten by `cast`, in one
        commit. Returns its version. Both are asked again where another commit came in between.

        Where a column's type only widened, no row changes its meaning. With `changes_rows` all partitions count as
        published again: their readers are stale, and a writer that staged before is fenced. Readers need no table feature.
        """
        import pyarrow as pa

        log = TableLog(self, f"{stage}/{name}")

        token = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}"
        path = f"{self.path(stage, name)}/{token}"

        def change(table: DeltaTable) -> Change | None:
            present = pa.schema(table.schema().to_arrow())
            schema = widened(present)
            if schema == present:
                return None
            staging = Staging(f"{stage}/{name}", stage, name, path, schema, (), {})
            by = table.metadata().partition_columns or None
            if dimension := next((each for each in by or () if each != DS), ""):
                staging = replace(staging, dimension=dimension)
            parts = self.parts(table)
            adds = [self._cast(staging, part, cast) for part in parts]
            numbers = dict[str, int]()
            if changes_rows:
                known = log.numbers(table.version())
                days = sorted({part.day or "" for part in parts} | set(rows_of(known)))
                numbers = {publish_id(day): known.get(publish_id(day), 0) + 1 for day in days}
                numbers |= self._built_from(log, table, days, days, None)
            return Change(adds, "overwrite", schema, by, transactions=numbers, rebase=False)

        return self._commit(log, change)

    def restore(self, stage: str, name: str, version: int) -> tuple[int, list[str]]:
        """Make the table what it was at `version`, in a new commit. Returns its version and the days whose rows changed.

        Every such day counts as published again, so that a writer that staged it before is fenced. Plans of loads
        keep their numbers: what was loaded since is not loaded again by itself. Raises LakeError where files of that
        version are gone, naming the oldest version that has all of its own.
        """
        log, days = TableLog(self, f"{stage}/{name}"), list[str]()

        def change(table: DeltaTable) -> RestoreChange | None:
            days[:] = self.days_since(table, self.at(stage, name, version))
            if not days:
                return None
            present = log.numbers(table.version())
            numbers = {publish_id(day): present.get(publish_id(day), 0) + 1 for day in days}
            return RestoreChange(version, numbers | self._built_from(log, table, days, days, None))

        return self._commit(log, change), list(days)

    def count(self, stage: str, name: str, numbers: Mapping[str, int]) -> int:
        """Write transaction numbers of a source into the log, in a commit without rows. Returns the version."""
        import pyarrow as pa

        refuse_own(f"{stage}/{name}", numbers)

        def change(table: DeltaTable) -> Change:
            schema, by = pa.schema(table.schema().to_arrow()), table.metadata().partition_columns or None
            return Change([], "append", schema, by, transactions=numbers)

        return self._commit(TableLog(self, f"{stage}/{name}"), change)

    def days_since(self, now: DeltaTable, then: DeltaTable) -> list[str]:
        """Days ('' of a table without) that lie in other files in one of the two snapshots."""
        files = {(part.day or "", part.path) for part in self.parts(now)}
        return sorted({day for day, _ in files ^ {(part.day or "", part.path) for part in self.parts(then)}})

    def _cast(self, staging: Staging, part: LivePart, cast: Callable[[pa.Table, pa.Schema], pa.Table]) -> Any:
        """Write a live file again in the schema of `staging`; returns the action that adds it."""
        import pyarrow.parquet as pq

        inner = staging.schema
        for name in staging.values(part.day):
            inner = inner.remove(inner.get_field_index(name))
        # The staging of a whole table names no days; its files lie in their days' folders all the same.
        inside = f"/{partition_folder(part.day, staging.dimension)}" if part.day else ""
        target = f"{staging.path}{inside}/part-{uuid.uuid4().hex}.parquet"
        with (
            pq.ParquetFile(part.uri, filesystem=self.filesystem) as source,
            self.whole(target) as file,
            pq.ParquetWriter(
                file,
                inner,
                compression="zstd",
                write_statistics=without_floats(inner),  # pyright: ignore[reportArgumentType]
            ) as writer,
        ):
            for group in range(source.num_row_groups):
                rows = cast(source.read_row_group(group), staging.schema)
                writer.write_table(rows.select(inner.names))
        return self._add_action(staging, part.day, target)

    def _log(self, staging: Staging) -> TableLog:
        return TableLog(self, f"{staging.stage}/{staging.name}")

    def _commit(
        self,
        log: TableLog,
        change: Callable[[DeltaTable], Change | PropertyChange | RestoreChange | None],
        table: DeltaTable | None = None,
    ) -> int:
        known = [table] if table else []
        return commit(lambda: known.pop() if known else self._opened(log.table), log.table, change, log)

    def _built_from(
        self,
        log: TableLog,
        table: DeltaTable,
        days: Sequence[str],
        changed: Sequence[str],
        reads: Reads | None,
    ) -> dict[str, int]:
        """What the commit after this snapshot says of its days, and of those that other writers changed before it."""
        version, id = table.version(), str(table.metadata().id)
        foreign = log.foreign(version)
        others = {*changed, *(day for day in days if day in foreign)}
        found = built_from(log.table, id, log.numbers(version), days, others, reads, foreign)
        return {**found, seen_id(): version}

    def _create(self, staging: Staging) -> None:
        """Make the table where it is missing, and bring the properties of one that is there up to date."""
        from deltalake import DeltaTable, Schema
        from deltalake.exceptions import DeltaError

        path, address = self.path(staging.stage, staging.name), f"{staging.stage}/{staging.name}"
        # One that a day of it was published in is there.
        fresh = not any(staging.seen.values()) and not self.patiently(
            lambda: DeltaTable.is_deltatable(path, storage_options=self.storage_options)
        )
        if fresh:
            lost.refuse(self, address)
        try:
            self.patiently(
                lambda: DeltaTable.create(
                    path,
                    Schema.from_arrow(staging.schema),
                    mode="ignore",
                    partition_by=staging.partition_by or None,
                    storage_options=self.storage_options,
                    configuration=dict(staging.properties) or None,
                )
            )
        except (DeltaError, OSError):
            # It is there all the same where another writer was faster, or the store lost its answer.
            if self.table(staging.stage, staging.name) is None:
                raise

        if fresh:
            lost.mark(self, address)

        def properties(table: DeltaTable) -> PropertyChange | None:
            present = table.metadata().configuration
            changed = {key: value for key, value in staging.properties.items() if present.get(key) != value}
            return PropertyChange(changed) if changed else None

        if staging.properties:
            self._commit(self._log(staging), properties)

    def _add_columns(self, staging: Staging, table: DeltaTable) -> None:
        """Add the columns that the table lacks, in a commit of its own that changes no row."""
        import pyarrow as pa

        def columns(table: DeltaTable) -> Change | None:
            present = pa.schema(table.schema().to_arrow())
            wanted = merged(staging.table, present, staging.schema, lambda names: names)
            if len(wanted) == len(present):
                return None
            return Change([], "overwrite", wanted, staging.partition_by, [(DS, "=", "")])

        before = table.version()
        if self._commit(self._log(staging), columns, table) != before:
            table.update_incremental()

    def live(self, stage: str, name: str) -> list[LivePart]:
        """The Parquet files that readers see now."""
        table = self.table(stage, name)
        return self.parts(table) if table else []

    def parts(self, table: DeltaTable, filters: Any = None) -> list[LivePart]:
        """The Parquet files of one version of a table, all or those of some days."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pa.table(table.get_add_actions(flatten=True))
        if filters:
            found = found.filter(pc.field(f"partition.{DS}").isin(list(filters[0][2])))
        second = next((name for name in table.metadata().partition_columns if name != DS), "")
        names = ["path", f"partition.{DS}", f"partition.{second}", "size_bytes", "num_records"]
        columns = [
            found[name].to_pylist() if name in found.column_names else [""] * found.num_rows for name in names
        ]
        root = table.table_uri.rstrip("/")
        if not self.remote:
            root = unquote(root).removeprefix("file://")
        return [
            LivePart(path, f"{root}/{path}", slice_of(day, value) if second else day, size, rows or 0)
            for path, day, value, size, rows in zip(*columns, strict=True)
        ]

    def holding(
        self, table: DeltaTable, parts: Sequence[LivePart], names: Collection[str]
    ) -> Collection[str]:
        """Which of the columns are in one of the table's files. The log's statistics tell it; else the files are asked."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        paths = [part.path for part in parts]
        told = pa.table(table.get_add_actions(flatten=True))
        told = told.filter(pc.field("path").isin(paths)) if paths else told.slice(0, 0)
        counted = {n for n in names if f"null_count.{n}" in told.column_names}
        found = {n for n in counted if told[f"null_count.{n}"].null_count < told.num_rows}
        for part in parts:
            if len(found) == len(names):
                break
            footer = pq.read_schema(part.uri, filesystem=self.filesystem)
            found |= {name for name in names if name in footer.names}
        return found

    def _add_actions(self, staging: Staging, days: Sequence[str]) -> tuple[list[Any], dict[str, int]]:
        """The actions that add what is staged of `days`, and the rows of each day."""
        staged, adds, rows = self.staged_files(staging), [], {}
        for day in days:
            actions = [self._add_action(staging, day, uri) for uri in staged[day]]
            rows[day] = sum(json.loads(action.stats)["numRecords"] for action in actions)
            adds += actions
        return adds, rows

    def _add_action(self, staging: Staging, day: str, uri: str) -> Any:
        import pyarrow.parquet as pq
        from deltalake.transaction import AddAction

        info = self.filesystem.get_file_info(uri)
        footer = pq.read_metadata(uri, filesystem=self.filesystem)
        return AddAction(
            path=uri[len(self.path(staging.stage, staging.name)) + 1 :],
            size=info.size,
            partition_values=dict(staging.values(day)),
            modification_time=int(time.time() * 1000),
            data_change=True,
            stats=json.dumps(file_statistics(footer)),
        )


def _by_day(parts: Iterable[LivePart]) -> dict[str, list[LivePart]]:
    found = dict[str, list[LivePart]]()
    for part in parts:
        found.setdefault(part.day or "", []).append(part)
    return found


def _written(lake: LakeStaging, staging: Staging, adds: Sequence[Any]) -> dict[str, list[LivePart]]:
    """What the actions add, by day."""
    root = lake.path(staging.stage, staging.name)
    return _by_day(
        LivePart(
            action.path,
            f"{root}/{action.path}",
            key_in(action.partition_values),
            action.size,
            json.loads(action.stats)["numRecords"],
        )
        for action in adds
    )


def _unsliced(staging: Staging, names: Iterable[str]) -> list[str]:
    """Columns that a slice's own files have."""
    return [name for name in names if not staging.dimension or name != staging.dimension]


def _remove_action(staging: Staging, part: LivePart) -> Any:
    from deltalake.transaction import RemoveAction

    return RemoveAction(part.path, True, int(time.time() * 1000), part.size, dict(staging.values(part.day)))


def _refuse_fenced(staging: Staging, days: Sequence[str], numbers: Mapping[str, int]) -> None:
    late = [d for d in days if numbers.get(publish_id(d), 0) != staging.seen[d]]
    if late:
        raise FencedError(
            f"{staging.table}: another run published {', '.join(filter(None, late)) or 'the table'} while "
            "this one was working; nothing of this run was written. Run it again if it should win.",
            table=staging.table,
            days=late,
        )


def _refuse_loaded(
    staging: Staging, plans: Mapping[str, tuple[int, int]], numbers: Mapping[str, int]
) -> None:
    late = [app for app, (seen, _) in plans.items() if numbers.get(app, 0) != seen]
    if late:
        raise FencedError(
            f"{staging.table}: another run loaded {', '.join(sorted(late)[:5])} while this one was working; "
            "nothing of this run was written. Run it again: it takes what is left.",
            table=staging.table,
            days=[app.rpartition("/")[2] for app in late],
        )


def _refuse_other_partitioning(staging: Staging, table: DeltaTable) -> None:
    present = table.metadata().partition_columns
    if present != staging.partition_by:
        raise LakeError(
            f"{staging.table}: the published table is partitioned by {', '.join(present) or 'nothing'}, the new "
            f"data by {', '.join(staging.partition_by) or 'nothing'}. Delta cannot change that in place: give the "
            "table another name, or remove the old one first",
            table=staging.table,
        )
