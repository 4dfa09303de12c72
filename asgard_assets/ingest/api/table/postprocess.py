"""Between sending and publishing, on the driver: payloads get their told schema, repeated items go."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.api.http.decoding import read_json
from asgard_assets.ingest.api.source.forms import PullForm
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.payload import (
    Misfits,
    Schema,
    filled,
    fit,
    merge,
    newly_typed,
    open_places,
    payload_type,
    refitted,
    settled,
    shape,
    told_of,
    untyped,
)
from asgard_assets.ingest.api.table.bronze import SUCCESS, arrow_schema
from asgard_assets.ingest.api.table.figures import Figures
from asgard_assets.lake import DS, Lake, Staging, duck
from asgard_assets.lake.duck import Reach
from asgard_assets.lake.sql import literally, quoted

if TYPE_CHECKING:
    import pyarrow as pa


def known_schema(lake: Lake, source: ApiSource) -> Schema | None:
    """The typed payload's schema: declared, or told by an earlier run; None where it is still to be told."""
    payload = source.sink.payload
    if payload is None or payload.type != "struct" or payload.columns is not None:
        return payload.columns if payload else None
    try:
        with lake.filesystem.open_input_stream(_place(lake, source)) as stream:
            return json.loads(stream.read())
    except (FileNotFoundError, ValueError):
        return None  # none, or cut short by a kill: it is told again


def _place(lake: Lake, source: ApiSource) -> str:
    return f"{lake.root}/_schemas/{source.sink.table}.json"


def removed(schema: Schema | None, figures: Figures) -> dict[str, int]:
    """Drift that no single payload shows: fields of the schema that came in none of the run's payloads."""
    if not isinstance(schema, dict) or not figures.fields:
        return {}
    answers = sum(by.get(SUCCESS, 0) for by in figures.outcomes.values())
    return {f"removed {name}": answers for name in schema if name not in figures.fields}


def type_payloads(lake: Lake, source: ApiSource, staging: Staging, told: Schema | None) -> Staging:
    """Give staged payloads, which are still text, the schema that all of them told, and remember it.

    Where no payload came, nothing is told: the table gets no such column before a run that can tell its type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for uri in _of_killed_runs(lake, staging):
        # This run's tasks never saw them.
        with pq.ParquetFile(uri, filesystem=lake.filesystem) as file:
            texts = file.read(columns=["payload"])["payload"].to_pylist()
        for text in (text for text in texts if text is not None):
            told = merge(told, shape(read_json(text)))
    schema = settled(told, None)
    told = None if untyped(schema) else told
    fields = arrow_schema(source, schema)
    if told is None:
        fields = fields.remove(fields.get_field_index("payload"))
    final = replace(staging, schema=fields)
    inside = pa.schema([field for field in final.schema if field.name not in staging.partition_by])
    for uris in lake.staged_files(staging).values():
        for uri in uris:
            table = pq.ParquetFile(uri, filesystem=lake.filesystem).read()
            if told is not None:
                # Told from these very values, so that all of them fit.
                texts = table["payload"].to_pylist()
                values = [None if t is None else fit(read_json(t), schema, Misfits()) for t in texts]
                payload = pa.array(values, payload_type(schema))
                table = table.set_column(table.schema.get_field_index("payload"), "payload", payload)
            with lake.whole(uri) as whole:
                pq.write_table(table.select(inside.names).cast(inside), whole, compression="zstd")
    if told is not None:
        _remember(lake, source, schema)
    return final


def fill_payloads(
    lake: Lake, source: ApiSource, staging: Staging, known: Schema, told: Schema | None
) -> tuple[Staging, list[str]]:
    """Give types to the fields that had none, now that values tell them: in what is staged, in the table, where
    they are null or empty until now, and in the schema that is remembered. Also returns these fields.
    """
    import pyarrow.parquet as pq

    for uri in _of_killed_runs(lake, staging):
        # This run's tasks never saw them; what they have in such a place is still JSON text.
        with pq.ParquetFile(uri, filesystem=lake.filesystem) as file:
            for value in file.read(columns=["payload"])["payload"].to_pylist():
                told = merge(told, told_of(_as_sent(value, known), open_places(known)))
    schema = filled(known, told)
    if schema == known:
        return staging, []

    def refit(table: pa.Table) -> pa.Table:
        import pyarrow as pa

        values = [refitted(value, known, schema) for value in table["payload"].to_pylist()]
        column = pa.array(values, payload_type(schema))
        return table.set_column(table.schema.get_field_index("payload"), "payload", column)

    final = replace(staging, schema=arrow_schema(source, schema))
    for uris in lake.staged_files(staging).values():
        for uri in uris:
            table = refit(pq.ParquetFile(uri, filesystem=lake.filesystem).read())
            with lake.whole(uri) as whole:
                pq.write_table(table, whole, compression="zstd")
    _retype(lake, source, known, schema, refit)
    _remember(lake, source, schema)
    return final, newly_typed(known, schema)


def _retype(
    lake: Lake, source: ApiSource, known: Schema, schema: Schema, refit: Callable[[pa.Table], pa.Table]
) -> None:
    """The same for the table that is there."""
    import pyarrow as pa

    before, after = payload_type(known), payload_type(schema)
    if before == after or lake.table(source.sink.stage, source.sink.name) is None:
        return

    def widened(present: pa.Schema) -> pa.Schema:
        at = present.get_field_index("payload")
        known_type = at >= 0 and present.field(at).type == before
        return present.set(at, pa.field("payload", after)) if known_type else present

    def cast(table: pa.Table, final: pa.Schema) -> pa.Table:
        table = refit(table) if "payload" in table.column_names else table
        for field in final:  # files from before a column was added
            if field.name != DS and field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(len(table), field.type))
        return table

    lake.retype(source.sink.stage, source.sink.name, widened, cast)


def _as_sent(value: Any, schema: Schema | None) -> Any:
    """A fitted value with what stands in places without a type as it was sent."""
    if value is None:
        return None
    if untyped(schema):
        return read_json(value)
    if isinstance(schema, dict):
        return {name: _as_sent(value[name], inner) for name, inner in schema.items()}
    return [_as_sent(inner, schema[0]) for inner in value] if isinstance(schema, list) else value


def _of_killed_runs(lake: Lake, staging: Staging) -> list[str]:
    files = (uri for uris in lake.staged_files(staging).values() for uri in uris)
    return [uri for uri in files if "/part-left" in uri]


def _remember(lake: Lake, source: ApiSource, schema: Schema) -> None:
    with lake.whole(_place(lake, source)) as whole:
        whole.write(json.dumps(schema, indent=1).encode())


def drop_repeated(lake: Lake, source: ApiSource, staging: Staging) -> dict[str, int]:
    """Of items with one declared key in one day the last one stays; gives back how many went, by day."""

    form = source.form
    if not isinstance(form, PullForm) or not form.key:
        return {}
    keys = ", ".join(f'"{name}"' for name in form.key_columns)
    none_null = " and ".join(f'"{name}" is not null' for name in form.key_columns)
    dropped = {}
    with duck.connect(Reach((lake,))) as connection:
        for day, uris in lake.staged_files(staging).items():
            if not uris:
                continue
            files = f"read_parquet([{', '.join(quoted(literally(uri)) for uri in uris)}], hive_partitioning = false)"
            repeated = _one(
                connection,
                f"select count(*) - count(distinct ({keys})) from {files} where success and {none_null}",
            )
            if not repeated:
                continue
            folder = staging.folder(day)
            target = f"{folder}/part-distinct-{uuid.uuid4().hex}.parquet"
            # The last: from the later page, or further down on it.
            connection.execute(
                f"""copy (select * from {files}
                    qualify not (success and {none_null}) or row_number() over (
                        partition by success, {keys} order by started_at desc, item_index desc) = 1)
                to {quoted(target)} (format parquet, compression zstd)"""
            )
            for uri in uris:
                lake.filesystem.delete_file(uri)
            dropped[day] = repeated
    return dropped


def drop_unchanged(lake: Lake, source: ApiSource, staging: Staging, day: str, days: list[str]) -> int:
    """Of `day` take out the items that stand in one of the published `days` just as they are; how many went."""
    form, uris = source.form, lake.staged_files(staging).get(day, ())
    if not isinstance(form, PullForm) or not uris or not days:
        return 0
    files = f"read_parquet([{', '.join(quoted(literally(uri)) for uri in uris)}], hive_partitioning = false)"
    published = f'"{source.sink.stage}"."{source.sink.name}"'
    keys = ", ".join(f'"{name}"' for name in form.key_columns)
    with lake.workbench(tables=[source.sink.table]) as connection:
        columns = {row[0] for row in connection.execute(f"describe from {published}").fetchall()}
        if not {"payload", *form.key_columns} <= columns & {*staging.schema.names}:
            return 0  # a table without payloads yet, or with another key
        known = (
            f"select {keys}, payload::varchar from {published} where success and {DS} in (select unnest(?))"
        )
        same = f"success and ({keys}, payload::varchar) in ({known})"
        again = connection.execute(f"select count(*) from {files} where {same}", [days]).fetchone()
        if again is None or not again[0]:
            return 0
        target = f"{staging.folder(day)}/part-changed-{uuid.uuid4().hex}.parquet"
        connection.execute(
            f"""copy (select * from {files} where not coalesce({same}, false))
            to {quoted(target)} (format parquet, compression zstd)""",
            [days],
        )
        for uri in uris:
            lake.filesystem.delete_file(uri)
        return again[0]


def _one(connection: Any, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
