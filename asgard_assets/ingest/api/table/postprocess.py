"""Between sending and publishing, on the driver: payloads get their told schema, repeated items go."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

from asgard_assets.ingest.api.http.decoding import read_json
from asgard_assets.ingest.api.source.forms import PullForm
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.payload import Misfits, Schema, fit, merge, payload_type, settled, shape
from asgard_assets.ingest.api.table.bronze import SUCCESS, arrow_schema
from asgard_assets.ingest.api.table.figures import Figures
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.reader import UNSIGNED, literally, load_duckdb_extensions, quoted


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
    return f"{lake.root.removeprefix('s3://')}/_schemas/{source.sink.table}.json"


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

    for uri in (uri for uris in lake.staged_files(staging).values() for uri in uris if "/part-left" in uri):
        # Rows of a killed run: this run's tasks never saw them.
        with pq.ParquetFile(uri.removeprefix("s3://"), filesystem=lake.filesystem) as file:
            texts = file.read(columns=["payload"])["payload"].to_pylist()
        for text in (text for text in texts if text is not None):
            told = merge(told, shape(read_json(text)))
    schema = settled(told)
    fields = arrow_schema(source, schema)
    if told is None:
        fields = fields.remove(fields.get_field_index("payload"))
    final = replace(staging, schema=fields)
    inside = pa.schema([field for field in final.schema if field.name != DS])
    for uris in lake.staged_files(staging).values():
        for uri in uris:
            path = uri.removeprefix("s3://")
            table = pq.ParquetFile(path, filesystem=lake.filesystem).read()
            if told is not None:
                # Told from these very values, so that all of them fit.
                texts = table["payload"].to_pylist()
                values = [None if t is None else fit(read_json(t), schema, Misfits()) for t in texts]
                payload = pa.array(values, payload_type(schema))
                table = table.set_column(table.schema.get_field_index("payload"), "payload", payload)
            pq.write_table(
                table.select(inside.names).cast(inside), path, filesystem=lake.filesystem, compression="zstd"
            )
    if told is not None:
        place = _place(lake, source)
        lake.filesystem.create_dir(place.rpartition("/")[0], recursive=True)
        with lake.filesystem.open_output_stream(place) as stream:
            stream.write(json.dumps(schema, indent=1).encode())
    return final


def drop_repeated(lake: Lake, source: ApiSource, staging: Staging) -> dict[str, int]:
    """Of items with one declared key in one day the last one stays; gives back how many went, by day."""
    import duckdb

    form = source.form
    if not isinstance(form, PullForm) or not form.key:
        return {}
    keys = ", ".join(f'"{name}"' for name in form.key_columns)
    none_null = " and ".join(f'"{name}" is not null' for name in form.key_columns)
    dropped = {}
    with duckdb.connect(config={"memory_limit": "1GB", "threads": 2, **UNSIGNED}) as connection:
        load_duckdb_extensions(connection, lake)
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
            folder = f"{staging.path}/{DS}={day}"
            target = f"{folder}/part-distinct-{uuid.uuid4().hex}.parquet"
            # The last: from the later page, or further down on it.
            connection.execute(
                f"""copy (select * from {files}
                    qualify not (success and {none_null}) or row_number() over (
                        partition by success, {keys} order by started_at desc, item_index desc) = 1)
                to {quoted(target)} (format parquet, compression zstd)"""
            )
            for uri in uris:
                lake.filesystem.delete_file(uri.removeprefix("s3://"))
            dropped[day] = repeated
    return dropped


def _one(connection: Any, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
