"""Keyed upsert: one row a key, the newest. Live files that hold keys of the batch are written again without them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.source.models import TECHNICAL, Upsert
from asgard_assets.ingest.files.table.merge import comparable
from asgard_assets.lake import DS, Lake, LivePart, Rewrite, Staging, duck
from asgard_assets.lake.duck import Reach
from asgard_assets.lake.sql import literally, quoted

if TYPE_CHECKING:
    import duckdb


def refuse_unknown(table: str, write: Upsert, columns: Iterable[str]) -> None:
    """Raise SourceError where `write` names a column that is not among `columns`; nothing where there is none."""
    known = [name for name in columns if name not in TECHNICAL]
    spelled = {name.lower() for name in known}
    if known and (unknown := [n for n in (*write.key, *write.newest_by) if n.lower() not in spelled]):
        raise SourceError(
            f"{table}: `write` names {', '.join(unknown)}, which neither the table nor these files have; "
            f"there are {', '.join(known)}; correct it in the source's defs.yaml",
            source=table.partition("/")[2],
        )


def replace_older(lake: Lake, staging: Staging, write: Upsert, replaced: Set[str]) -> Rewrite:
    """Leave one staged row for each key, none where the table has a newer one; and say what the commit must rewrite.

    Rows of the files `replaced` leave the table in any case: the changed file says what is true now. Raises
    SourceError where neither the table nor these files have a column that `write` names.
    """

    live = lake.live(staging.stage, staging.name)
    staged = [uri for uris in lake.staged_files(staging).values() for uri in uris]
    instead: dict[str, list[str]] = {}
    refuse_unknown(staging.table, write, staging.schema.names)
    texts = {field.name.lower() for field in staging.schema if str(field.type) == "string"}
    if staged or (live and replaced):
        with duck.connect(Reach((lake,))) as db:
            db.register("no_rows", staging.schema.empty_table())
            db.execute("create table gone (file varchar)")
            if replaced:
                db.executemany("insert into gone values (?)", [[path] for path in sorted(replaced)])
            _newest_of_batch(db, write, staged, texts)
            if live:
                _beaten_by_live(db, write, live, texts)
            _restage(db, lake, staging, staged)
            if live:
                instead = _without_keys(db, lake, staging, write, live)
    return Rewrite(staging.table, frozenset(part.path for part in live), instead)


def _keys(write: Upsert, table: str) -> str:
    return ", ".join(f"{table}.{_name(column)}" for column in write.key)


def _same_key(write: Upsert) -> str:
    return " and ".join(f"l.{_name(c)} is not distinct from b.{_name(c)}" for c in write.key)


def _age(write: Upsert, table: str, texts: Set[str]) -> str:
    """A row's age as one comparable value; a missing value is the oldest, and text is what it says."""
    parts: list[str] = []
    for column in write.newest_by:
        name = f"{table}.{_name(column)}"
        parts += comparable(name) if column.lower() in texts else (name,)
    told = [told.format(part) for part in parts for told in ("({}) is not null", "{}")]
    told += [f"{table}.{column}" for column in ("_metadata.modified", "_file", "_row")]
    named = ", ".join(f"'o{n}': {part}" for n, part in enumerate(told))
    return f"{{{named}}}"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _files(uris: Sequence[str], place: str = "") -> str:
    """Their rows, in columns of the table's schema that the files themselves may lack."""
    extra = f", filename={quoted(place)}" if place else ""
    listed = ", ".join(quoted(literally(uri)) for uri in uris)
    found = f"""select * from read_parquet([{listed}], union_by_name=true, hive_partitioning=true,
        hive_types={{'{DS}': VARCHAR}}{extra})"""
    return f"(select * from no_rows union all by name {found if uris else 'select * from no_rows'})"


def _newest_of_batch(
    db: duckdb.DuckDBPyConnection, write: Upsert, staged: Sequence[str], texts: Set[str]
) -> None:
    db.execute(
        f"""create table batch as select {_keys(write, "b")}, {_age(write, "b", texts)} as age, _file, _row
        from {_files(staged)} b qualify row_number() over (partition by {_keys(write, "b")} order by age desc) = 1"""
    )


def _beaten_by_live(
    db: duckdb.DuckDBPyConnection, write: Upsert, live: Sequence[LivePart], texts: Set[str]
) -> None:
    db.execute(
        f"""delete from batch b using {_files([p.uri for p in live])} l
        where {_same_key(write)} and {_age(write, "l", texts)} > b.age and l._file not in (from gone)"""
    )


def _restage(db: duckdb.DuckDBPyConnection, lake: Lake, staging: Staging, staged: Sequence[str]) -> None:
    """Write staged files again that hold rows which lost."""
    for uri in staged:
        lost = db.execute(
            f"select count(*) from {_files([uri])} s anti join batch using (_file, _row)"
        ).fetchone()
        if not lost or not lost[0]:
            continue
        target = f"{uri.removesuffix('.parquet')}-{uuid.uuid4().hex[:8]}.parquet"
        _copy(
            db, f"select * exclude ({DS}) from {_files([uri])} s semi join batch using (_file, _row)", target
        )
        lake.filesystem.delete_file(uri)


def _without_keys(
    db: duckdb.DuckDBPyConnection, lake: Lake, staging: Staging, write: Upsert, live: Sequence[LivePart]
) -> dict[str, list[str]]:
    place = f"_place_{uuid.uuid4().hex}"  # a column of the table may have any other name
    hit = f"l._file in (from gone) or exists (from batch b where {_same_key(write)})"
    found = db.execute(
        f"select l.{place}, count(*) from {_files([p.uri for p in live], place)} l where {hit} group by 1"
    ).fetchall()
    counts = {name: count for name, count in found}
    instead: dict[str, list[str]] = {}
    for part in live:
        if part.uri not in counts:
            continue
        instead[part.path] = []
        if counts[part.uri] < part.rows:
            target = f"{staging.path}-kept/{DS}={part.day}/kept-{uuid.uuid4().hex}.parquet"
            lake.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
            _copy(db, f"select * exclude ({DS}) from {_files([part.uri])} l where not ({hit})", target)
            instead[part.path] = [target]
    return instead


def _copy(db: duckdb.DuckDBPyConnection, query: str, target: str) -> None:
    db.execute(f"copy ({query}) to {quoted(target)} (format parquet, compression zstd)")
