"""One row a key: of several versions of a record the newest stays, in the whole table, and deletes are honoured.

Bronze stays partitioned by the day of the file that told the version which stays. A new version takes the old
one out of whatever day it stood in, so a load may rewrite days that nobody asked for; they are published in
the same commit. What was deleted is remembered in `bronze/<table>_deleted`, so that an old day which is loaded
again does not bring it back. A snapshot's days do not know each other: there, one row a key and day stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.source.models import FileSource, Merge
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.sql import identifier, literally, quoted

if TYPE_CHECKING:
    import duckdb

_VERSION = {
    # `<day>_<epoch ms>_<part>` of a landed file: the order in which Airbyte wrote them.
    "_epoch": r"""try_cast(nullif(regexp_extract("_file", '_(\d{10,})_\d+\.[^/]*$', 1), '') as bigint)""",
    "_part": r"""try_cast(nullif(regexp_extract("_file", '_(\d+)\.[^/]*$', 1), '') as bigint)""",
    "_line": '"_row"',
}


@dataclass(frozen=True)
class Merged:
    """The staging with the days that lost rows to newer versions, and how many rows did not stay."""

    staging: Staging
    moved_days: tuple[str, ...] = ()
    superseded_rows: int = 0
    deleted_rows: int = 0


def seen_days(lake: Lake, source: FileSource) -> dict[str, int]:
    """Every day of the table with its transaction number, to be taken before anything is read."""
    table = lake.table("bronze", source.name)
    if table is None or source.merge is None or source.files == "snapshot":
        return {}
    days = sorted({str(partition[DS]) for partition in table.partitions()})
    return lake.epochs("bronze", source.name, days)


def merge(
    lake: Lake, source: FileSource, staging: Staging, seen: Mapping[str, int], failed: Collection[str] = (),
    outdated: Collection[str] = (),
) -> Merged:  # fmt: skip
    """Take out of the staged days, and of the table's other days, every row that a newer version replaces.

    All rows of `outdated` files go, whatever version they hold. `failed` days are not staged. Raises SourceError where one
    holds rows that would have to go: publishing the other days without it would show two versions of a record.
    """
    rule = source.merge
    if rule is None:
        return Merged(staging)
    staging = replace(staging, days=tuple(day for day in staging.days if day not in failed))
    if not staging.days:
        return Merged(staging)
    with lake.workbench(tables=()) as connection:
        staged = lake.staged_files(staging)
        connection.execute("create table outdated (file varchar)")
        if outdated:
            connection.executemany("insert into outdated values (?)", [[path] for path in sorted(outdated)])
        _view_staged(connection, staging, staged)
        others = () if source.files == "snapshot" else tuple(d for d in seen if d not in staging.days)
        _view_others(connection, lake, staging, others, rule)
        may_be_gone = rule.deleted and rule.deleted.lower() in map(str.lower, staging.schema.names)
        if may_be_gone and source.files != "snapshot":
            _remember_deleted(connection, lake, source, staging, rule)
            _view_deleted(connection, lake, source, rule)
        else:
            connection.execute("create view deleted as select * from staged_versions where false")
        superseded, deleted = _rank(connection, rule, within_day=source.files == "snapshot")
        moved = tuple(
            row[0]
            for row in connection.execute(
                f"select distinct {DS} from losers where {DS} not in (select unnest(?)) order by 1",
                [list(staging.days)],
            ).fetchall()
        )
        if stuck := [day for day in moved if day in failed]:
            raise SourceError(
                f"{source.name}: {', '.join(stuck)} cannot be loaded ({'; '.join(failed)}) and holds older versions of "
                "records that other days bring; correct it and load the days again",
                source=source.name,
            )
        whole = replace(
            staging, days=(*staging.days, *moved), seen={**staging.seen, **{day: seen[day] for day in moved}}
        )
        _rewrite(connection, lake, whole, staged, moved)
    return Merged(whole, moved, superseded, deleted)


def _view_staged(
    connection: duckdb.DuckDBPyConnection, staging: Staging, staged: dict[str, list[str]]
) -> None:
    """`staged`: the rows that this load brings, of all its days, in the table's columns."""
    connection.register("no_rows", staging.schema.empty_table())
    connection.execute("create table shape as select * from no_rows")
    parts = [
        f"select * from (select * from shape where false union all by name "
        f"select *, {quoted(day)} as {DS} from read_parquet([{', '.join(quoted(literally(uri)) for uri in uris)}], "
        "union_by_name = true, hive_partitioning = false))"
        for day, uris in staged.items()
        if uris
    ]
    connection.execute(f"create view staged as {' union all by name '.join(parts) or 'select * from shape'}")


def _view_others(
    connection: duckdb.DuckDBPyConnection, lake: Lake, staging: Staging, days: tuple[str, ...], rule: Merge
) -> None:
    """`others`: what the table's other days hold; and the versions of both sides."""
    known = "shape"
    if days:
        known = lake.delta_scan(staging.stage, staging.name)
    chosen = ", ".join(map(quoted, days)) or "''"
    connection.execute(
        f"create view others as select * from (select * from shape where false union all by name select * from {known} "
        f"where {DS} in ({chosen}))"
    )
    for name in ("staged", "others"):
        connection.execute(
            f"create view {name}_versions as select {_version(rule, staging.schema.names)} from {name} "
            'where "_file" not in (from outdated)'
        )


def _version(rule: Merge, known: Collection[str]) -> str:
    """What a row needs to be compared: its key, how new it is, whether it says that the record is gone."""
    spelled = {name.lower() for name in known}

    def value(column: str | None) -> str:
        return identifier(column) if column and column.lower() in spelled else "null::varchar"

    keys = [f"{value(column)} as _key_{n}" for n, column in enumerate(rule.key)]
    cursor, read, gone = value(rule.cursor), value(rule.read_at), f"{value(rule.deleted)} is not null"
    order = [f"{sql} as {name}" for name, sql in _VERSION.items()]
    return ", ".join(
        [
            DS,
            '"_file"',
            '"_row"',
            *keys,
            f"{cursor} as _cursor",
            f"{read} as _read_at",
            f"{gone} as _gone",
            *order,
        ]
    )


def _rank(connection: duckdb.DuckDBPyConnection, rule: Merge, *, within_day: bool) -> tuple[int, int]:
    """`losers`: rows of either side that a newer version replaces or a delete takes out; their counts."""
    keys = [f"_key_{n}" for n in range(len(rule.key))]
    nulls = " or ".join(f"{key} is null" for key in keys)
    newest = ", ".join(
        [
            *(f"{sql} desc nulls last" for column in ("_cursor", "_read_at") for sql in comparable(column)),
            "_epoch desc nulls last",
            "_part desc nulls last",
            "_line desc",
        ]  # fmt: skip
    )
    scope = ", ".join([*keys, DS] if within_day else keys)
    # Only keys that this load touches can change; a row without a key is no version of anything.
    touched = f"select {', '.join(keys)} from staged_versions where not ({nulls})"
    connection.execute(
        f"""create table losers as
        with versions as (
            select *, true as _real from staged_versions
            union all select *, true from others_versions semi join ({touched}) using ({", ".join(keys)})
            union all by name select *, false as _real from deleted semi join ({touched}) using ({", ".join(keys)})
        ), ranked as (
            select *, row_number() over (partition by {scope} order by {newest}) as _place
            from versions where not ({nulls})
        )
        select {DS}, "_file", "_row", _gone from ranked where _real and (_place > 1 or _gone)"""
    )
    found = connection.execute(
        "select count(*) filter (not _gone), count(*) filter (_gone) from losers"
    ).fetchone()
    for side in ("staged", "others"):
        connection.execute(
            f'insert into losers select {DS}, "_file", "_row", false from {side} where "_file" in (from outdated)'
        )
    return found or (0, 0)


def comparable(column: str) -> tuple[str, ...]:
    """Text as what it says: a number (log positions have more digits than a double), an instant, or itself."""
    return (f"try_cast({column} as decimal(38, 6))", f"try_cast({column} as timestamptz)", column)


def _remember_deleted(
    connection: duckdb.DuckDBPyConnection, lake: Lake, source: FileSource, staging: Staging, rule: Merge
) -> None:
    """Keep the staged days' deletes. Before the table itself: a load that dies in between is loaded again."""
    import pyarrow as pa

    name = f"{source.name}_deleted"
    rows = connection.execute(
        f'select {_kept(rule, staging.schema.names)}, "_file", "_row", {DS} from staged where {identifier(str(rule.deleted))} is not null'
    ).to_arrow_table()
    if rows.num_rows == 0 and lake.table("bronze", name) is None:
        return
    schema = pa.schema([*((c, pa.string()) for c in _columns(rule)), ("_file", pa.string()), ("_row", pa.int64()), (DS, pa.string())])  # fmt: skip
    target = lake.stage("bronze", name, schema, staging.days)
    lake.write(target, rows)
    lake.publish(target)


def _columns(rule: Merge) -> list[str]:
    return list(dict.fromkeys([*rule.key, *filter(None, (rule.cursor, rule.read_at, rule.deleted))]))


def _kept(rule: Merge, known: Collection[str]) -> str:
    spelled = {name.lower() for name in known}
    return ", ".join(
        identifier(name) if name.lower() in spelled else f"null::varchar as {identifier(name)}"
        for name in _columns(rule)
    )


def _view_deleted(connection: duckdb.DuckDBPyConnection, lake: Lake, source: FileSource, rule: Merge) -> None:
    """`deleted`: versions that say that a record is gone, of every day that was ever loaded."""
    name = f"{source.name}_deleted"
    if lake.table("bronze", name) is None:
        connection.execute("create view deleted as select * from staged_versions where false")
        return
    connection.execute(
        f"create view deleted as select {_version(rule, _columns(rule))} from {lake.delta_scan('bronze', name)}"
    )


def _rewrite(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    staging: Staging,
    staged: dict[str, list[str]],
    moved: Sequence[str],
) -> None:
    """Write the days anew that lost rows, without them."""
    losing = {row[0] for row in connection.execute(f"select distinct {DS} from losers").fetchall()}
    for day in sorted(losing):
        side = "others" if day in moved else "staged"
        rows = connection.execute(
            f'select * from {side} anti join losers using ({DS}, "_file", "_row") where {DS} = ?', [day]
        ).to_arrow_table()
        lake.write(replace(staging, days=(day,)), rows)
    # Not before all are written: `staged` reads the files of every day.
    for uri in (uri for day in losing for uri in staged.get(day, [])):
        lake.filesystem.delete_file(uri)
