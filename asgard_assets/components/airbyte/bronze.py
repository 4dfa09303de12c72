"""A Bronze table for each Airbyte stream, made from what the snapshot knows of it.

How the stream is synced decides what its landing files are to each other: a full refresh that overwrites gives
a snapshot of each day, everything else adds up. Where the stream has a primary key, one row a key stays, the
newest by cursor; deletes that a change-data-capture source tells (`_ab_cdc_deleted_at`) take the row out.
A table that a `defs.yaml` declares for the same folder is left to it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import yaml
from dagster_airbyte import AirbyteConnectionTableProps
from pydantic import Field, ValidationError

from asgard_assets.components.airbyte.snapshot import Connection, StreamMode
from asgard_assets.components.files import file_asset, file_sensor
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.source.models import TECHNICAL, FileSource
from asgard_assets.quality.tables import Column

DELETED = "_ab_cdc_deleted_at"
_GENERATION = "_airbyte_generation_id"
_FILES = "asgard_assets.components.files.FileIngest"
_TECHNICAL = {
    "_airbyte_raw_id": "Airbyte's id of the record.",
    "_airbyte_extracted_at": "When Airbyte read the record, milliseconds since 1970.",
    "_airbyte_meta": "What Airbyte changed in the record, as JSON text.",
    _GENERATION: "Counts the stream's full refreshes.",
}


class TableOptions(dg.Model, dg.Resolvable):
    """What is known better here than in Airbyte."""

    key: Sequence[str] | None = Field(
        default=None, description="Columns that name a record. An empty list keeps every record."
    )
    cursor: str | None = Field(
        default=None, description="Column whose greatest value is the newest version of a record."
    )


class Bronze(dg.Model, dg.Resolvable):
    """How streams become Bronze tables."""

    enabled: bool = Field(default=True, description="Make a Bronze table for each stream.")
    path: str = Field(
        default="airbyte/{table}",
        description="Folder of a stream below the landing root; {connection}, {prefix}, {stream} and "
        "{table} are filled in.",
    )
    fresh_hours: float = Field(
        default=26, gt=0, description="A table older than this many hours is shown as stale."
    )
    retries: int | None = Field(
        default=None, ge=0, description="Retries of a run's step; default: setting ASGARD_RETRIES."
    )
    generations: Literal["follow", "keep"] = Field(
        default="follow",
        description="What becomes of rows that a refresh in Airbyte replaced. follow: they leave the table when Airbyte has removed their "
        "files. keep: they stay, as for a bucket whose old files are removed by a rule of its own.",
    )
    streams: dict[str, TableOptions] = Field(
        default_factory=dict, description="Options of single streams, by the stream's name."
    )


def bronze_tables(
    bronze: Bronze,
    streams: Sequence[tuple[AirbyteConnectionTableProps, Connection, dg.AssetKey]],
    *,
    declared_in: Path,
    owners: tuple[str, ...],
    tags: Mapping[str, str],
    descriptions: Mapping[str, str],
) -> tuple[list[dg.AssetsDefinition], list[dg.SensorDefinition]]:
    """Assets and sensors of the streams' Bronze tables. Raises ConfigError where two would have one name."""
    if not bronze.enabled:
        return [], []
    taken, names = declared(declared_in), {}
    assets, sensors = [], []
    for props, connection, key in streams:
        mode = connection.modes.get(props.stream_name, StreamMode())
        known = descriptions.get(props.stream_name, f"Stream {props.stream_name}.")
        source = source_of(bronze, props, mode, key, known, owners, tags)
        if source.path in taken:
            continue
        other = names.setdefault(source.name, key)
        if other != key:
            raise ConfigError(
                f"streams {other.to_user_string()} and {key.to_user_string()} would both become bronze/{source.name}; "
                "give one a prefix in Airbyte"
            )
        assets.append(file_asset(source))
        sensors.append(file_sensor(source))
    return assets, sensors


def source_of(
    bronze: Bronze,
    props: AirbyteConnectionTableProps,
    mode: StreamMode,
    key: dg.AssetKey,
    description: str,
    owners: tuple[str, ...] = (),
    tags: Mapping[str, str] | None = None,
) -> FileSource:
    """The stream as a source of files. Raises ConfigError where it cannot be one."""
    properties: Mapping[str, Any] = props.json_schema.get("properties") or {}
    options = bronze.streams.get(props.stream_name, TableOptions())
    primary = tuple(mode.key if options.key is None else options.key)
    cursor = options.cursor or mode.cursor
    merge = {
        "key": primary,
        "cursor": cursor if cursor in properties or options.cursor else None,
        "deleted": DELETED if DELETED in properties else None,
    }
    columns = {
        name: Column(type="string", description=str(about.get("description") or ""))
        for name, about in properties.items()
        if name.lower() not in TECHNICAL
    }
    folder, path = _name(props.table_name), folder_of(bronze, props)
    table = re.sub(r"^(?=[^a-z])", "t_", folder.lower())
    try:
        return FileSource.model_validate(
            {
                "name": table,
                "path": path,
                "ds": {"type": "filename"},
                "files": "snapshot" if mode.overwrites else "add",
                "merge": merge if primary else None,
                "generation": None if bronze.generations == "keep" or mode.overwrites else _GENERATION,
                "unwrap": "_airbyte_data",
                "deps": [key.path],
                "description": f"{description} One row a {'key' if primary else 'record'}, as Airbyte landed it.",
                "columns": {
                    **columns,
                    **{n: Column(type="string", description=d) for n, d in _TECHNICAL.items()},
                },
                "owners": owners,
                "tags": {"source": "airbyte", **(tags or {})},
                "kinds": ["airbyte", "spark", "delta"],
                "fresh_hours": bronze.fresh_hours,
                "retries": bronze.retries,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"stream {props.stream_name} of {props.connection_name} can be no Bronze table: {first['msg']}"
        ) from error


def folder_of(bronze: Bronze, props: AirbyteConnectionTableProps) -> str:
    """The stream's folder under the landing root."""
    return bronze.path.format(
        connection=_name(props.connection_name),
        prefix=props.stream_prefix or "",
        stream=landed_name(props.stream_name),
        table=landed_name(props.table_name),
    )


def say_empty(folder: str, day: date, epoch_ms: int) -> str | None:
    """Leave an empty file where an overwriting sync left none, so that the loader can tell it from no sync.

    Airbyte's S3 destination removes the old files and writes nothing for an empty stream. Returns the file's
    path; None where the folder has files, and so needs nothing said.
    """
    from pyarrow import fs as pafs

    landing = Landing.from_settings()
    landing.refuse_outside(folder)
    place = landing.address(folder)
    known = landing.filesystem.get_file_info(pafs.FileSelector(place, recursive=True, allow_not_found=True))
    if any(info.type == pafs.FileType.File and not info.base_name.startswith(".") for info in known):
        return None
    path = f"{folder}/{day:%Y_%m_%d}_{epoch_ms}_0.jsonl"
    landing.put(path, b"")
    return path


def declared(folder: Path) -> set[str]:
    """Landing folders that a `defs.yaml` below `folder` declares as sources of its own."""
    found = set()
    for path in sorted(folder.rglob("defs.yaml")):
        text = path.read_text()
        if _FILES not in text:
            continue
        for document in yaml.safe_load_all(text):
            if isinstance(document, dict) and document.get("type") == _FILES:
                found.add(str((document.get("attributes") or {}).get("path", "")).strip("/"))
    return found


def landed_name(text: str) -> str:
    """A stream's name as Airbyte's S3 destination writes it into keys (its S3NameTransformer): letters without their
    accents, and `_` for what it does not take for safe."""
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", text) if not unicodedata.category(c).startswith("M")
    )
    return re.sub(r"[^A-Za-z0-9/!_.*')(&$@=;:+,?-]", "_", plain)


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", text)
