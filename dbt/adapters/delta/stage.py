"""The `delta` materialization's Python half: a query becomes staged Parquet files of one Delta table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from dbt_common.exceptions import DbtRuntimeError
from deltalake import Schema

from asgard_assets.errors import ConfigError
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.sql import literally
from asgard_assets.lake.sql import quoted as literal
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, checked_value, keys_in, slice_of, value_of, window_of
from dbt.adapters.delta.types import ORIGINAL, quoted, stored


@dataclass(frozen=True)
class Columns:
    """A table's columns: under which SQL type each is stored, and DuckDB's own where that is another."""

    stored: dict[str, str]
    original: dict[str, str] = field(default_factory=dict)

    def shown(self, name: str) -> str:
        kind = self.original.get(name)
        return f"cast({quoted(name)} as {kind}) as {quoted(name)}" if kind else quoted(name)

    def only(self, names: list[str], *more: Columns) -> Columns:
        """The named columns, taken from here or else from the next."""
        sources = (self, *more)
        chosen = {n: next(s for s in sources if n in s.stored) for n in names}
        return Columns(
            {n: s.stored[n] for n, s in chosen.items()},
            {n: s.original[n] for n, s in chosen.items() if n in s.original},
        )


@dataclass(frozen=True)
class Staged:
    """Files that wait for the tests. `replace_schema`: they are the whole table, columns included."""

    staging: Staging
    replace_schema: bool
    columns: dict[str, str]
    made: tuple[str, ...] | None = None
    """The days whose rows are new; None: all. The others are written again because the columns changed."""


def stage(
    cursor: Any,
    lake: Lake,
    staged: dict[str, Staged],
    model: Any,
    target: Any,
    rows: Any,
    asked: Mapping[str, Any],
) -> None:
    """Write the rows of the view `rows` and show `target` as it will be once they are published."""
    schema, name = target.schema, target.identifier
    table = f"{schema}/{name}"
    days = _days(table, asked) if asked["partition_by"] else []
    second = asked.get("second") or ""
    if second:
        days, rows = _sliced(cursor, table, days, asked, rows)
    strategy = asked["strategy"] or "replace"
    whole = not days and (strategy == "replace" or asked["full_refresh"])
    new = columns_of(cursor, table, f"select * from {rows}")
    _day_as_text(table, new, bool(days))
    # The state that this run replaces is fixed before any row is read.
    seen = lake.epochs(schema, name, days or [""])
    published = None if whole else _published(cursor, lake, schema, name)
    osc = asked["on_schema_change"] or "append_new_columns"
    final, rewrite = _merged(table, new, published, osc) if published else (new, False)
    if rewrite and second:
        raise DbtRuntimeError(
            f"{table}: columns go or change their type, and the other slices by {second} cannot be rewritten with this one. Cast "
            "the columns in the model, or give the table another name"
        )
    if rewrite and days:
        # Columns go or change their type: the other days are rewritten in the same commit.
        days, asked_days = _all_days(lake, schema, name, days), days
        seen = lake.epochs(schema, name, days)
    else:
        asked_days = days

    source, fresh, kept = _select(final, new, str(rows)), None, ""
    if strategy != "replace" and (published or strategy == "merge"):
        # The new rows are read twice: by themselves, and to find those that they replace.
        fresh = f"{name}__delta_new"
        cursor.execute(f"create or replace temp table {quoted(fresh)} as {source}")
        source = f"select * from {quoted(fresh)}"
    if published:
        old = lake.delta_scan(schema, name)
        outside = _outside(asked_days, second) if days else "false"
        if fresh is None:
            kept = _select(final, published, old, f"where {outside}") if rewrite else ""
        else:
            replaced = (
                "false" if strategy == "append" else _matches(cursor, table, fresh, asked["unique_key"], days)
            )
            inside = "" if not days or rewrite else f" and not ({outside})"
            kept = _select(final, published, f"{old} as t", f"where not ({replaced}){inside}")
    elif fresh:
        _matches(cursor, table, fresh, asked["unique_key"], days)

    staging = lake.stage(schema, name, arrow_schema(cursor, final, source), days, seen, dimension=second)
    staged[model["unique_id"]] = Staged(
        staging, whole or rewrite, _types(final), tuple(asked_days) if days else None
    )
    copy(cursor, staging, f"{source} union all by name {kept}" if kept else source)
    if fresh:
        cursor.execute(f"drop table if exists temp.{quoted(fresh)}")
    outside = f"where {_outside(days, second)}" if days and published else ""
    _show(cursor, lake, staging, final, outside, published)


def _sliced(
    cursor: Any, table: str, days: list[str], asked: Mapping[str, Any], rows: Any
) -> tuple[list[str], str]:
    """The slices of the days, and the rows with the column that cuts them. Raises where no value was given, or where the rows
    have another one."""
    column, value = asked["second"], asked["value"]
    if not value:
        raise DbtRuntimeError(
            f"{table} is built for one {column} at a time: pass --vars '{{{column}: …}}' too"
        )
    try:
        checked_value(str(value))
    except ConfigError as error:
        raise DbtRuntimeError(f"{table}: {column}: {error}") from error
    keys = [slice_of(day, str(value)) for day in days]
    names = [name.lower() for name in cursor.sql(f"select * from {rows} limit 0").columns]
    if column not in names:
        return keys, f"(select *, {literal(str(value))} as {quoted(column)} from {rows})"
    [(strays,)] = cursor.execute(
        f"select count(*) from {rows} where {quoted(column)}::varchar is distinct from ?", [str(value)]
    ).fetchall()
    if strays:
        raise DbtRuntimeError(
            f"{table}: {strays} rows are of another {column} than {value}, which this run builds; add: where {column} = "
            "'{{ partition_value() }}'"
        )
    return keys, str(rows)


def _outside(days: list[str], second: str) -> str:
    """SQL: is a row in none of these partitions?"""
    told = f"{DS} not in ({', '.join(literal(window_of(day)) for day in days)})"
    return f"({told} or {quoted(second)} <> {literal(value_of(days[0]))})" if second else told


def _day_as_text(table: str, columns: Columns, by_days: bool) -> None:
    """A day is text, in the lake and in the view alike. Raises where the table has days and no column of them, or
    the reverse."""
    if by_days != (DS in columns.stored):
        raise DbtRuntimeError(
            f"{table}: a model with a column `{DS}` needs config(partition_by='{DS}'), and the reverse"
        )
    if by_days:
        if columns.stored[DS] not in ("DATE", "VARCHAR"):
            raise DbtRuntimeError(
                f"{table}: column {DS} is {columns.stored[DS]}; it has to be a date or text"
            )
        columns.stored[DS] = "VARCHAR"
        columns.original.pop(DS, None)


def columns_of(cursor: Any, table: str, query: str) -> Columns:
    """How the columns of a query are stored. Raises where Delta holds nothing like one of them."""
    found = cursor.sql(f"select * from ({query}) limit 0")
    columns = Columns({})
    for name, kind in zip(found.columns, found.types, strict=True):
        columns.stored[name] = stored(table, name, kind)
        if columns.stored[name].lower() != str(kind).lower() and str(kind).lower() not in ("null", '"null"'):
            columns.original[name] = str(kind)
    return columns


def arrow_schema(cursor: Any, columns: Columns, query: str) -> pa.Schema:
    """The Delta table's schema. By way of Delta's own types: DuckDB names the fields inside lists otherwise."""
    cast = ", ".join(f"cast({quoted(c)} as {kind}) as {quoted(c)}" for c, kind in columns.stored.items())
    found = cursor.sql(f"select {cast} from ({query}) limit 0").to_arrow_table().schema
    delta = pa.schema(Schema.from_arrow(pa.schema([f.with_type(_in_utc(f.type)) for f in found])).to_arrow())
    return pa.schema(
        [
            f.with_metadata({ORIGINAL: columns.original[f.name]}) if f.name in columns.original else f
            for f in delta
        ]
    )


def _in_utc(kind: pa.DataType) -> pa.DataType:
    """The type with its moments in UTC, as Delta has them; DuckDB shows them in the zone of the session."""
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_utc(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(_in_utc(kind.key_type), kind.item_field.with_type(_in_utc(kind.item_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_utc(field.type)) for field in kind])
    return kind


def copy(cursor: Any, staging: Staging, query: str, *, ordered: bool = False) -> None:
    """Let DuckDB write the rows of `query` into the staging folder: streamed, one pass.

    `ordered` keeps them in the query's order, where that is one file; it holds more of them in memory.
    """
    target = literal(staging.path if staging.days else f"{staging.path}/part-0.parquet")
    layout = (
        f", partition_by ({', '.join(map(quoted, staging.partition_by))}), filename_pattern 'part-{{uuid}}', overwrite_or_ignore"
        if staging.days
        else ""
    )
    order = "true" if ordered and not staging.days else "false"
    cursor.execute(
        f"copy ({query}) to {target} (format parquet, compression zstd, preserve_order {order}{layout})"
    )


def _types(columns: Columns) -> dict[str, str]:
    return {**columns.stored, **columns.original}


def _days(table: str, asked: Mapping[str, Any]) -> list[str]:
    every = asked.get("every") or "day"
    hours = asked.get("hours") or [None, None]
    first, last = hours if every == "hour" and all(hours) else asked["window"]
    if not first or not last:
        raise DbtRuntimeError(
            f'{table} is built by days: pass --vars \'{{min_date: "2026-10-05", max_date: "2026-10-11"}}\''
        )
    try:
        calendar = Calendar.named(Settings().time_zone, every)
        return keys_in(str(first), str(last), calendar)
    except ConfigError as error:
        raise DbtRuntimeError(f"{table}: the window {first} to {last} cannot be built: {error}") from error


def _published(cursor: Any, lake: Lake, schema: str, name: str) -> Columns | None:
    table = lake.table(schema, name)
    if table is None:
        return None
    query = f"select * from {lake.delta_scan(schema, name)}"
    found = columns_of(cursor, f"{schema}/{name}", query)
    meta = {f.name: (f.metadata or {}).get(ORIGINAL) for f in table.schema().fields}
    return Columns(found.stored, {n: kind for n, kind in meta.items() if kind})


def _merged(table: str, new: Columns, old: Columns, on_schema_change: str) -> tuple[Columns, bool]:
    """The table's columns after this run, and whether its other rows have to be rewritten for it."""
    added = [c for c in new.stored if c not in old.stored]
    removed = [c for c in old.stored if c not in new.stored]
    changed = [c for c in new.stored if c in old.stored and new.stored[c].lower() != old.stored[c].lower()]
    said = [f"{c} is new" for c in added] + [f"{c} is gone" for c in removed]
    said += [f"{c} is {old.stored[c]} in the table and {new.stored[c]} in the query" for c in changed]
    if on_schema_change == "sync_all_columns":
        return new, bool(removed or changed)
    if on_schema_change not in ("ignore", "fail", "append_new_columns"):
        raise DbtRuntimeError(
            f"{table}: on_schema_change {on_schema_change} is not one of ignore, fail, append_new_columns, "
            "sync_all_columns"
        )
    if on_schema_change == "fail" and said:
        raise DbtRuntimeError(f"{table}: the columns changed: {', '.join(said)}. on_schema_change is fail")
    if changed:
        raise DbtRuntimeError(
            f"{table}: the columns changed: {', '.join(said)}. Cast them in the model, or rewrite the table with "
            "on_schema_change='sync_all_columns'"
        )
    if on_schema_change == "ignore":
        if removed:
            raise DbtRuntimeError(
                f"{table}: the columns changed: {', '.join(said)}. on_schema_change='ignore' needs every column of "
                "the table; append_new_columns fills them with nulls"
            )
        return old, False
    return old.only([*old.stored, *added], new), False


def _select(final: Columns, found: Columns, source: str, where: str = "") -> str:
    """The final columns out of a relation that may lack some of them."""
    names = (
        f"cast({quoted(c) if c in found.stored else 'null'} as {kind}) as {quoted(c)}"
        for c, kind in final.stored.items()
    )
    return f"select {', '.join(names)} from {source} {where}"


def _matches(cursor: Any, table: str, fresh: str, unique_key: Any, days: list[str]) -> str:
    """SQL: does a row of the published table `t` have its like in the new ones? Raises where a key is none."""
    key = [unique_key] if isinstance(unique_key, str) else list(unique_key)
    if days and DS not in key:
        key.append(DS)
    names = ", ".join(map(quoted, key))
    bad = cursor.execute(
        f"select {names}, count(*) from {quoted(fresh)} group by {names} "
        f"having count(*) > 1 or {' or '.join(f'{quoted(k)} is null' for k in key)} limit 3"
    ).fetchall()
    if bad:
        shown = "; ".join(", ".join(f"{k}={v}" for k, v in zip(key, row, strict=False)) for row in bad)
        raise DbtRuntimeError(
            f"{table}: unique_key ({', '.join(key)}) is null or occurs twice in the new rows, for example {shown}; "
            "a merge would not know which row to keep"
        )
    same = " and ".join(f"n.{quoted(k)} = t.{quoted(k)}" for k in key)
    return f"exists (select 1 from {quoted(fresh)} as n where {same})"


def _all_days(lake: Lake, schema: str, name: str, days: list[str]) -> list[str]:
    table = lake.table(schema, name)
    assert table is not None
    known = {part[DS] for part in table.partitions()}
    return sorted(known | set(days))


def _show(
    cursor: Any, lake: Lake, staging: Staging, final: Columns, outside: str, published: Columns | None
) -> None:
    schema, name = staging.stage, staging.name
    files = [uri for uris in lake.staged_files(staging).values() for uri in uris]
    empty = ", ".join(f"null::{kind} as {quoted(c)}" for c, kind in final.stored.items())
    parts = [f"select {empty} where false"]
    if outside and published:
        parts.append(_select(final, published, lake.delta_scan(schema, name), outside))
    if files:
        kinds = ", ".join(f"{literal(column)}: varchar" for column in staging.partition_by)
        hive = f", hive_partitioning = true, hive_types = {{{kinds}}}" if staging.days else ""
        parts.append(
            f"select * from read_parquet([{', '.join(literal(literally(uri)) for uri in files)}]{hive})"
        )
    names = ", ".join(map(final.shown, final.stored))
    united = " union all by name ".join(parts)
    cursor.execute(
        f"create or replace view {quoted(schema)}.{quoted(name)} as select {names} from ({united})"
    )
