"""One row a key: live files that hold keys of the load are written again without them, and deleted rows leave the table."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard_assets.ingest.sql.source import TECHNICAL
from asgard_assets.lake import DS, Lake, LivePart, Rewrite, Staging, duck
from asgard_assets.lake.duck import Reach
from asgard_assets.lake.sql import identifier, literally, quoted

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Replaced(Rewrite):
    """What of the table the commit writes again, and how many rows that was about."""

    unchanged: int = 0
    updated: int = 0
    deleted: int = 0


def replace_rows(lake: Lake, staging: Staging, key: Sequence[str], keys: str | None) -> Replaced:
    """Leave out staged rows that the table has as they are, and say what the commit must rewrite.

    `keys`: a Parquet file with every key that the database has; rows of the table with others are deleted.
    """
    live = lake.live(staging.stage, staging.name)
    paths = frozenset(part.path for part in live)
    staged = [uri for uris in lake.staged_files(staging).values() for uri in uris]
    if not live or not (staged or keys):
        return Replaced(staging.table, paths, {})
    with duck.connect(Reach((lake,))) as db:
        db.register("no_rows", staging.schema.empty_table())
        same = _unchanged(db, staging, key, staged, live)
        if same:
            _restage(db, lake, staged, key)
        matched = f"exists (from batch asgard_batch where {_same_key(key, 'asgard_batch')})"
        gone = (
            f"not exists (from read_parquet({quoted(literally(keys))}) asgard_keys where {_same_key(key, 'asgard_keys')})"
            if keys
            else "false"
        )
        found = db.execute(
            f"select asgard_file, count(*) filter (matched), count(*) filter (not matched) from (select asgard_file, {matched} "
            f"as matched, {gone} as gone from {_rows([p.uri for p in live], True)} asgard_live) where matched or gone group by 1"
        ).fetchall()
        counts = {name: (updated, deleted) for name, updated, deleted in found}
        instead: dict[str, list[str]] = {}
        for part in live:
            if part.uri not in counts:
                continue
            instead[part.path] = []
            if sum(counts[part.uri]) < part.rows:
                target = f"{staging.path}-kept/{DS}={part.day}/kept-{uuid.uuid4().hex}.parquet"
                lake.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
                kept = f"select * exclude ({DS}) from {_rows([part.uri])} asgard_live where not ({matched} or {gone})"
                db.execute(f"copy ({kept}) to {quoted(target)} (format parquet, compression zstd)")
                instead[part.path] = [target]
    updated, deleted = (sum(each[n] for each in counts.values()) for n in (0, 1))
    return Replaced(staging.table, paths, instead, same, updated, deleted)


def _unchanged(
    db: duckdb.DuckDBPyConnection,
    staging: Staging,
    key: Sequence[str],
    staged: Sequence[str],
    live: Sequence[LivePart],
) -> int:
    """Make `batch`, the keys of staged rows that are new or other than the table's; return how many rows are neither."""
    names = ", ".join(map(identifier, key))
    db.execute(f"create table batch as select {names} from {_rows(staged)}")
    data = [n for n in staging.schema.names if n not in TECHNICAL or n == "_rescued_data"]
    alike = " and ".join(
        f"asgard_staged.{identifier(n)} is not distinct from asgard_live.{identifier(n)}" for n in data
    )
    ours = " and ".join(f"asgard_staged.{identifier(n)} = asgard_batch.{identifier(n)}" for n in key)
    same = f"""delete from batch asgard_batch where exists (
        from {_rows(staged)} asgard_staged join {_rows([p.uri for p in live])} asgard_live
        on {_same_key(key, "asgard_staged")} and {alike} where {ours})"""
    found = db.execute(same).fetchone()
    return int(found[0]) if found else 0


def _restage(db: duckdb.DuckDBPyConnection, lake: Lake, staged: Sequence[str], key: Sequence[str]) -> None:
    """Write staged files again without the rows that the table has already."""
    for uri in staged:
        target = f"{uri.removesuffix('.parquet')}-{uuid.uuid4().hex[:8]}.parquet"
        names = ", ".join(map(identifier, key))
        kept = f"select * exclude ({DS}) from {_rows([uri])} asgard_staged semi join batch using ({names})"
        (count,) = db.execute(f"select count(*) from ({kept})").fetchone() or (0,)
        if count:
            db.execute(f"copy ({kept}) to {quoted(target)} (format parquet, compression zstd)")
        lake.filesystem.delete_file(uri)


def _same_key(key: Sequence[str], other: str) -> str:
    return " and ".join(f"asgard_live.{identifier(name)} = {other}.{identifier(name)}" for name in key)


def _rows(uris: Sequence[str], filename: bool = False) -> str:
    """Rows of files, with the table's columns that they lack."""
    if not uris:
        return "(select * from no_rows)"
    listed = ", ".join(quoted(literally(uri)) for uri in uris)
    extra = ", filename='asgard_file'" if filename else ""
    return (
        f"(select * from no_rows union all by name select * from read_parquet([{listed}], union_by_name=true, "
        f"hive_partitioning=true, hive_types={{'{DS}': VARCHAR}}{extra}))"
    )
