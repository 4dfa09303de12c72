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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import FencedError, LakeError
from asgard_assets.lake.reader import DS as DS
from asgard_assets.lake.reader import app_id
from asgard_assets.lake.staging import LakeStaging
from asgard_assets.lake.staging import Staging as Staging
from asgard_assets.lake.statistics import delta_type, file_statistics, without_floats

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_COMMIT_TRIES = 20
_COMMIT_ID = "asgard_commit"


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
class LivePart:
    """A Parquet file that readers see: its path in the log, its address, its day."""

    path: str
    uri: str
    day: str
    size: int
    rows: int


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
    ) -> Published:
        """Make the staged days visible in one commit; they replace those days (or the whole table).

        `days` defaults to all staged days; a day without files becomes an empty, published day. `plans`
        carries further transaction numbers (a loader's batch plans). `replace_schema` makes the table's
        columns those of `staging.schema`, for a writer that replaces every row; otherwise columns are only
        added. Raises FencedError where another writer published one of the days since `stage`, LakeError
        where a column changed its type or the table its partitioning.
        """
        from deltalake import CommitProperties, DeltaTable, Schema, Transaction
        from deltalake.exceptions import CommitFailedError, DeltaError

        chosen = tuple(dict.fromkeys(staging.days if days is None else days)) or ("",)
        adds, rows = [], {}
        staged = self.staged_files(staging)
        for day in chosen:
            actions = [self._add_action(staging, day, uri) for uri in staged[day]]
            rows[day] = sum(json.loads(action.stats)["numRecords"] for action in actions)
            adds += actions
        token = uuid.uuid4().hex
        transactions = [Transaction(app_id(day), staging.seen[day] + 1) for day in chosen]
        transactions += [Transaction(app, number) for app, number in (plans or {}).items()]
        properties = CommitProperties(
            custom_metadata={**(metadata or {}), _COMMIT_ID: token},
            app_transactions=transactions,
            max_commit_retries=_COMMIT_TRIES,
        )
        partition_by = [DS] if staging.partitioned else None
        path = self.path(staging.stage, staging.name)
        self._create(staging)
        replaced = 0
        for attempt in range(_COMMIT_TRIES):
            table = DeltaTable(path, storage_options=self.storage_options)
            self._refuse_fenced(staging, chosen, table)
            _refuse_other_partitioning(staging, table)
            schema = staging.schema if replace_schema else self._merged_schema(staging, table)
            filters = [(DS, "in", list(chosen))] if partition_by else None
            replaced = len(table.file_uris(file_pruning_predicate=filters))
            try:
                table.create_write_transaction(
                    adds,
                    "overwrite",
                    Schema.from_arrow(schema),
                    partition_by,
                    partition_filters=filters,
                    commit_properties=properties,
                )
            except (DeltaError, OSError) as error:
                if self._landed(path, token):
                    break  # the store lost its answer, not the commit
                if not isinstance(error, CommitFailedError):
                    raise
                # A real conflict (same day) is named by _refuse_fenced on the next turn; any other one,
                # such as a column added by a neighbour, goes through on a fresh snapshot.
                if attempt == _COMMIT_TRIES - 1:
                    raise
                time.sleep(0.05 * (attempt + 1))
                continue
            break
        return Published(
            staging.table,
            DeltaTable(path, storage_options=self.storage_options).version(),
            rows,
            len(adds),
            sum(action.size for action in adds),
            replaced,
        )

    def _landed(self, path: str, token: str) -> bool:
        """Whether a commit that seemed to fail is in the log: its answer may have been lost on the way."""
        from deltalake import DeltaTable

        log = DeltaTable(path, storage_options=self.storage_options).history(_COMMIT_TRIES)
        return any(commit.get(_COMMIT_ID) == token for commit in log)

    def _set_properties(self, staging: Staging, table: DeltaTable) -> None:
        """Bring the properties of a table that was there before up to date, in a commit of their own."""
        present = table.metadata().configuration
        changed = {name: value for name, value in staging.properties.items() if present.get(name) != value}
        if changed:
            table.alter.set_table_properties(changed)

    def amend(
        self,
        staging: Staging,
        rewrite: Callable[[Sequence[LivePart]], Mapping[str, Sequence[str]]],
        plans: Mapping[str, tuple[int, int]],
        days: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Published:
        """Add the staged files of `days` to what is there, and replace single live files, in one commit.

        `rewrite` is shown the live files of the snapshot that the commit follows; it returns, by path, the
        addresses of those that take their place (under `staging.path`, in the same day), and is asked again
        where another commit came in between. `plans` has for each transaction identifier the number that it
        must have and the one that it gets. Raises FencedError where it has another one, LakeError where a
        column changed its type.
        """
        from deltalake import CommitProperties, DeltaTable, Transaction
        from deltalake.exceptions import CommitFailedError
        from deltalake.transaction import RemoveAction

        staged = self.staged_files(staging)
        chosen = [day for day in (staging.days if days is None else days) if day in staged]
        adds = [self._add_action(staging, day, uri) for day in chosen for uri in staged[day]]
        rows = {day: 0 for day in chosen}
        for action in adds:
            rows[action.partition_values[DS]] += json.loads(action.stats)["numRecords"]
        self._create(staging)
        for attempt in range(_COMMIT_TRIES):
            table = self._evolved(staging)
            late = [app for app, (seen, _) in plans.items() if (table.transaction_version(app) or 0) != seen]
            if late:
                raise FencedError(
                    f"{staging.table}: another run loaded {', '.join(sorted(late)[:5])} while this one was working; "
                    "nothing of this run was written. Run it again: it takes what is left.",
                    table=staging.table,
                    days=[app.rpartition("/")[2] for app in late],
                )
            live = {part.path: part for part in self._live(table)}
            instead = rewrite(list(live.values()))
            moment = int(time.time() * 1000)
            removes = [
                RemoveAction(path, True, moment, live[path].size, {DS: live[path].day}) for path in instead
            ]
            again = [
                self._add_action(staging, live[path].day, uri)
                for path, uris in instead.items()
                for uri in uris
            ]
            touched = sorted({*chosen, *(live[path].day for path in instead)})
            transactions = [
                Transaction(app_id(d), (table.transaction_version(app_id(d)) or 0) + 1) for d in touched
            ]
            transactions += [Transaction(app, number) for app, (_, number) in plans.items()]
            try:
                table.create_write_transaction(
                    [*removes, *again, *adds],
                    "append",
                    table.schema(),
                    [DS],
                    commit_properties=CommitProperties(
                        custom_metadata=dict(metadata or {}),
                        app_transactions=transactions,
                        max_commit_retries=_COMMIT_TRIES,
                    ),
                )
            except CommitFailedError:
                if attempt == _COMMIT_TRIES - 1:
                    raise
                time.sleep(0.05 * (attempt + 1))
                continue
            version = DeltaTable(table.table_uri, storage_options=self.storage_options).version()
            size = sum(action.size for action in [*adds, *again])
            return Published(staging.table, version, rows, len(adds) + len(again), size, len(removes))
        raise AssertionError("unreachable")

    def _create(self, staging: Staging) -> None:
        from deltalake import DeltaTable, Schema

        path = self.path(staging.stage, staging.name)
        DeltaTable.create(
            path,
            Schema.from_arrow(staging.schema),
            mode="ignore",
            partition_by=[DS] if staging.partitioned else None,
            storage_options=self.storage_options,
            configuration=dict(staging.properties) or None,
        )
        self._set_properties(staging, DeltaTable(path, storage_options=self.storage_options))

    def _evolved(self, staging: Staging) -> DeltaTable:
        """The table as it is, after columns that it lacks were added: a commit of its own that changes no row."""
        from deltalake import DeltaTable, Schema

        path = self.path(staging.stage, staging.name)
        table = DeltaTable(path, storage_options=self.storage_options)
        merged = self._merged_schema(staging, table)
        if len(merged) > len(table.schema().fields):
            table.create_write_transaction(
                [], "overwrite", Schema.from_arrow(merged), [DS], partition_filters=[(DS, "=", "")]
            )
            table = DeltaTable(path, storage_options=self.storage_options)
        return table

    def live(self, stage: str, name: str) -> list[LivePart]:
        """The Parquet files that readers see now."""
        table = self.table(stage, name)
        return self._live(table) if table else []

    def _live(self, table: DeltaTable) -> list[LivePart]:
        import pyarrow as pa

        found = pa.table(table.get_add_actions(flatten=True))
        names = ["path", f"partition.{DS}", "size_bytes", "num_records"]
        columns = [found[name].to_pylist() for name in names]
        root = table.table_uri.rstrip("/").removeprefix("file://")
        return [
            LivePart(path, f"{root}/{path}", day, size, rows or 0)
            for path, day, size, rows in zip(*columns, strict=True)
        ]

    def retype(self, stage: str, name: str, schema: pa.Schema, cast: Callable[[pa.Table], pa.Table]) -> int:
        """Give the table `schema`, every live file rewritten by `cast`, in one commit. Returns its version.

        For columns whose type widened: no row changes its meaning. Readers need no table feature.
        """
        import pyarrow.parquet as pq
        from deltalake import CommitProperties, DeltaTable, Schema
        from deltalake.exceptions import CommitFailedError

        token = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}"
        path = self.path(stage, name)
        staging = Staging(f"{stage}/{name}", stage, name, f"{path}/{token}", schema, (), {})
        inner = schema.remove(schema.get_field_index(DS))
        for attempt in range(_COMMIT_TRIES):
            table = DeltaTable(path, storage_options=self.storage_options)
            adds = []
            for part in self._live(table):
                target = f"{staging.path}/{DS}={part.day}/part-{uuid.uuid4().hex}.parquet"
                self.filesystem.create_dir(self._bare(target).rpartition("/")[0], recursive=True)
                with pq.ParquetFile(self._bare(part.uri), filesystem=self.filesystem) as source:
                    with pq.ParquetWriter(
                        self._bare(target),
                        inner,
                        filesystem=self.filesystem,
                        compression="zstd",
                        write_statistics=without_floats(inner),  # pyright: ignore[reportArgumentType]
                    ) as writer:
                        for group in range(source.num_row_groups):
                            writer.write_table(cast(source.read_row_group(group)).select(inner.names))
                adds.append(self._add_action(staging, part.day, target))
            try:
                table.create_write_transaction(
                    adds,
                    "overwrite",
                    Schema.from_arrow(schema),
                    [DS],
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except CommitFailedError:
                if attempt == _COMMIT_TRIES - 1:
                    raise
                time.sleep(0.05 * (attempt + 1))
                continue
            return DeltaTable(path, storage_options=self.storage_options).version()
        raise AssertionError("unreachable")

    def _refuse_fenced(self, staging: Staging, days: Sequence[str], table: DeltaTable) -> None:
        late = [d for d in days if (table.transaction_version(app_id(d)) or 0) != staging.seen[d]]
        if late:
            raise FencedError(
                f"{staging.table}: another run published {', '.join(filter(None, late)) or 'the table'} while "
                "this one was working; nothing of this run was written. Run it again if it should win.",
                table=staging.table,
                days=late,
            )

    def _merged_schema(self, staging: Staging, table: DeltaTable) -> pa.Schema:
        import pyarrow as pa

        present = pa.schema(table.schema().to_arrow())
        merged = {f.name: f for f in present}
        for new in staging.schema:
            old = merged.get(new.name)
            if old is not None and delta_type(old.type) != delta_type(new.type):
                raise LakeError(
                    f"{staging.table}: column {new.name} is {old.type} in the table and {new.type} in the new "
                    "data; cast it in the transformation, or rename it",
                    table=staging.table,
                )
            merged.setdefault(new.name, new)
        return pa.schema(list(merged.values()))

    def _add_action(self, staging: Staging, day: str, uri: str) -> Any:
        import pyarrow.parquet as pq
        from deltalake.transaction import AddAction

        bare = self._bare(uri)
        info = self.filesystem.get_file_info(bare)
        footer = pq.read_metadata(bare, filesystem=self.filesystem)
        return AddAction(
            path=uri[len(self.path(staging.stage, staging.name)) + 1 :],
            size=info.size,
            partition_values={DS: day} if day else {},
            modification_time=int(time.time() * 1000),
            data_change=True,
            stats=json.dumps(file_statistics(footer)),
        )


def _refuse_other_partitioning(staging: Staging, table: DeltaTable) -> None:
    present = table.metadata().partition_columns
    if present != ([DS] if staging.partitioned else []):
        raise LakeError(
            f"{staging.table}: the published table is partitioned by {', '.join(present) or 'nothing'}, the new "
            f"data by {DS if staging.partitioned else 'nothing'}. Delta cannot change that in place: give the "
            "table another name, or remove the old one first",
            table=staging.table,
        )


def days_between(first: str, last: str) -> list[str]:
    """All days from `first` to `last`, both included, as `YYYY-MM-DD`."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]
