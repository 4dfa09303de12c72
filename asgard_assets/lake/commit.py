"""The one commit loop: publish, amend and retype all write the log through it.

A commit that seems to fail may have landed: the store wrote the log entry and its answer was lost. So each commit
carries a token, and after an error the entries since the snapshot are searched for it. A conflict with another writer
is retried on a fresh snapshot; the caller's `change_for` raises where the conflict is a real one.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from asgard_assets.errors import UnknownCommitError
from asgard_assets.lake.numbers import COMMIT_ID
from asgard_assets.lake.snapshot import TableLog

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

TRIES = 40


@dataclass(frozen=True)
class Change:
    """What one commit does to the snapshot that it follows. `rebase`: delta-rs may put it behind other commits; else
    each commit in between asks for a new change. One that replaces files must not be rebased: delta-rs 1.6 puts
    it behind a compaction of the very files that it removes, and their rows would be there twice."""

    actions: Sequence[Any]
    mode: Literal["append", "overwrite"]
    schema: pa.Schema
    partition_by: list[str] | None = None
    partition_filters: list[tuple[str, str, Any]] | None = None
    transactions: Mapping[str, int] = field(default_factory=dict[str, int])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rebase: bool = True

    def added_paths(self) -> set[str]:
        from deltalake.transaction import AddAction

        return {action.path for action in self.actions if isinstance(action, AddAction)}

    def write(self, table: DeltaTable, token: str) -> None:
        from deltalake import CommitProperties, Schema, Transaction

        table.create_write_transaction(
            list(self.actions),
            self.mode,
            Schema.from_arrow(self.schema),
            self.partition_by,
            partition_filters=self.partition_filters,
            commit_properties=CommitProperties(
                custom_metadata={**self.metadata, COMMIT_ID: token},
                app_transactions=[
                    Transaction(app, number, int(time.time() * 1000))
                    for app, number in self.transactions.items()
                ],
                max_commit_retries=TRIES if self.rebase else 0,
            ),
        )


@dataclass(frozen=True)
class PropertyChange:
    """Properties of the table that are to be set."""

    properties: Mapping[str, str]
    transactions: Mapping[str, int] = field(default_factory=dict[str, int])

    def added_paths(self) -> set[str]:
        return set()

    def write(self, table: DeltaTable, token: str) -> None:
        from deltalake import CommitProperties

        properties = CommitProperties(custom_metadata={COMMIT_ID: token})
        table.alter.set_table_properties(dict(self.properties), commit_properties=properties)


@dataclass(frozen=True)
class RestoreChange:
    """The table's files become those of an earlier version (Delta's RESTORE)."""

    version: int
    transactions: Mapping[str, int]

    def added_paths(self) -> set[str]:
        return set()

    def write(self, table: DeltaTable, token: str) -> None:
        from deltalake import CommitProperties, Transaction

        moment = int(time.time() * 1000)
        table.restore(
            self.version,
            commit_properties=CommitProperties(
                custom_metadata={COMMIT_ID: token},
                app_transactions=[Transaction(app, n, moment) for app, n in self.transactions.items()],
                max_commit_retries=0,
            ),
        )


def commit(
    open_table: Callable[[], DeltaTable],
    name: str,
    change_for: Callable[[DeltaTable], Change | PropertyChange | RestoreChange | None],
    log: TableLog,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Commit what `change_for` makes of the newest snapshot; it is asked again where another commit came in between.

    Returns the version that it made, or the newest where there is nothing to change. Where the store refuses the
    table's keys, it is opened again, with those of now.
    Raises what `change_for` raises, the store's error where nothing was committed, and UnknownCommitError where
    nobody can tell.
    """
    from deltalake.exceptions import CommitFailedError, DeltaError

    table = open_table()
    for attempt in range(TRIES):
        change = change_for(table)
        before = table.version()
        if change is None:
            return before
        token, used = uuid.uuid4().hex, log.store.handed_out
        try:
            change.write(table, token)
        except (DeltaError, OSError) as error:
            again = isinstance(error, CommitFailedError)
            if log.store.renewed(error, used):
                table, again = open_table(), True
            version = _landed(table, name, change, token, before, log, error)
            if version is None and (not again or attempt == TRIES - 1):
                raise
        else:
            version = _own_version(token, before, log) or _newest(table)
        if version is not None:
            return version
        sleep(0.05 * (attempt + 1) * random.uniform(0.5, 1.5))  # noqa: S311
        table = _brought_up(table, open_table, log)
    raise AssertionError("unreachable")


def _brought_up(table: DeltaTable, open_table: Callable[[], DeltaTable], log: TableLog) -> DeltaTable:
    from deltalake.exceptions import DeltaError

    used = log.store.handed_out
    try:
        table.update_incremental()
    except (DeltaError, OSError) as error:
        if not log.store.renewed(error, used):
            raise
        return open_table()
    return table


def _landed(
    table: DeltaTable,
    name: str,
    change: Change | PropertyChange | RestoreChange,
    token: str,
    before: int,
    log: TableLog,
    error: Exception,
) -> int | None:
    """The version of a commit that seemed to fail with `error`; None where it is not in the log."""
    from deltalake.exceptions import DeltaError

    unknown = UnknownCommitError(
        f"{name}: the answer to a commit was lost ({_first_line(error)}), and the log does not tell whether its rows "
        "are visible. Run it again: what is visible already is replaced or found done, not doubled",
        table=name,
    )
    try:
        newest = _newest(table)
        entries = {version: log.entry(version) for version in range(before + 1, newest + 1)}
    except (DeltaError, OSError) as broken:
        raise unknown from broken
    for version, entry in entries.items():
        if entry and token in entry:
            return version
    if None not in entries.values():
        return None
    # Entries were pruned behind a checkpoint, which keeps the live files and the transaction numbers.
    if change.added_paths() & set(_live_paths(table)):
        return newest
    wanted, numbers = change.transactions, log.numbers(newest)
    if wanted and all(numbers.get(app, 0) >= number for app, number in wanted.items()):
        raise unknown from error
    return None


def _own_version(token: str, before: int, log: TableLog) -> int | None:
    """The version of the first entry after `before` with the token; a pruned entry ends the search."""
    version = before + 1
    while (entry := log.entry(version)) is not None:
        if token in entry:
            return version
        version += 1
    return None


def _newest(table: DeltaTable) -> int:
    table.update_incremental()
    return table.version()


def _live_paths(table: DeltaTable) -> list[str]:
    import pyarrow as pa

    return pa.table(table.get_add_actions())["path"].to_pylist()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
