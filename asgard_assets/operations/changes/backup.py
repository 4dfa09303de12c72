"""One point in time of everything: the lake's tables at one version each, and the databases beside it.

A backup lies in a folder or bucket that many share: files of tables never change, so each is copied once.

tables/<stage>/<name>/<id>/     a table's files and log
models/                         files of MLflow's runs
<time>/backup.json              which tables at which versions
<time>/state/                   plans, schemas and the like of the lake
<time>/beside/                  databases

The tables' versions are noted first. What comes later is loaded or built again by itself after a restore: the lake says
what is missing and stale, and plans that no table counts are loaded anew.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from asgard_assets.errors import ConfigError, LakeError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.lake.changes.copying import copy, exists, names_in, put_file, remove
from asgard_assets.operations.changes.databases import State, put_back, save

_LOG = re.compile(r"_delta_log/(\d{20})\.(?:json|checkpoint.*)")
_LEFT_OUT = ("_manifest", "_launcher", "_models")
"""Made again, passing, or copied apart."""


@dataclass(frozen=True)
class Backup:
    """What was saved. `tables` are versions by stage/name; `elsewhere` is what this does not hold."""

    name: str
    made_at: datetime
    tables: Mapping[str, int]
    beside: tuple[str, ...]
    elsewhere: tuple[str, ...]
    copied_files: int


def backup(lake: Lake, to: str, state: State, now: datetime | None = None) -> Backup:
    """Save everything as it is now to a folder or s3://bucket/prefix. Runs may go on meanwhile."""
    moment = now or datetime.now(UTC)
    name, target = f"{moment:%Y%m%dT%H%M%SZ}", replace(lake, root=to)
    if f"{to.rstrip('/')}/".startswith(f"{lake.root.rstrip('/')}/"):
        raise ConfigError(f"{to} lies in the lake: a backup that is lost with it is none")
    snapshots = {
        f"{stage}/{table}": lake.snapshot(stage, table) for stage, table in lake.tables(internal=True)
    }
    snapshots = {table: found for table, found in snapshots.items() if found.delta is not None}
    ids = {table: found.table_id for table, found in snapshots.items()}
    copied = 0
    with tempfile.TemporaryDirectory() as folder:
        beside = save(state, Path(folder))
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                put_file(target, f"{name}/beside/{file.relative_to(folder)}", file)
    for table, found in snapshots.items():
        assert found.delta is not None
        root = lake.path(*table.split("/", 1))
        live = {part.path for part in lake.parts(found.delta)}
        wanted = [path for path in names_in(lake, table) if path in live or _kept(path, found.version)]
        copied += copy(lake, table, target, f"tables/{table}/{found.table_id}", only=wanted).files
        if missing := live - {path for path in names_in(target, f"tables/{table}/{found.table_id}")}:
            raise LakeError(
                f"{table}: {len(missing)} files of {root} are gone while they were copied; begin again"
            )
    places = [
        place
        for place in names_in(lake, "")
        if place.startswith("_") and place.split("/")[0] not in _LEFT_OUT
    ]
    inside = [place for place in places if "/".join(place.split("/")[:2]) not in ids]
    copied += copy(lake, "", target, f"{name}/state", only=inside).files
    copied += copy(lake, "_models", target, "models").files
    said = {
        "made_at": moment.isoformat(),
        "tables": {t: [ids[t], found.version] for t, found in snapshots.items()},
    }
    target.put(f"{name}/backup.json", json.dumps(said).encode())  # last: one without it is none
    versions = {table: found.version for table, found in snapshots.items()}
    return Backup(name, moment, versions, tuple(beside), state.elsewhere, copied)


def backups(lake: Lake, place: str) -> list[str]:
    """Names of the whole backups in a folder or bucket, oldest first."""
    store = replace(lake, root=place)
    return sorted(
        path.split("/")[0]
        for path in names_in(store, "")
        if path.endswith("/backup.json") and path.count("/") == 1
    )


def restore_all(lake: Lake, place: str, state: State, name: str = "", replace_all: bool = False) -> Backup:
    """Make lake and databases what they were at a backup (default: the newest). Nothing may run meanwhile.

    Raises NotFoundError where there is none, ConfigError where the lake is not empty, unless `replace_all`.
    """
    known = backups(lake, place)
    if not known or (name and name not in known):
        raise NotFoundError(
            f"there is no backup {name} in {place}; there are: {', '.join(known[-5:]) or 'none'}"
        )
    name, store = name or known[-1], replace(lake, root=place)
    if exists(lake, ""):
        if not replace_all:
            raise ConfigError(
                f"the lake at {lake.root} is not empty: move it away, or replace it with --replace"
            )
        remove(lake, "")
    said = json.loads(store.get(f"{name}/backup.json"))
    copied = 0
    for table, (id, version) in said["tables"].items():
        source = f"tables/{table}/{id}"
        live = {part.path for part in lake.parts(_at(store, source, version))}
        wanted = [path for path in names_in(store, source) if path in live or _kept(path, version)]
        copied += copy(store, source, lake, table, only=wanted).files
    copied += copy(store, f"{name}/state", lake, "").files
    copied += copy(store, "models", lake, "_models").files
    with tempfile.TemporaryDirectory() as folder:
        there = Lake(folder)
        copy(store, f"{name}/beside", there, "")
        done = put_back(state, Path(folder))
    versions = {table: version for table, (_, version) in said["tables"].items()}
    return Backup(
        name, datetime.fromisoformat(said["made_at"]), versions, tuple(done), state.elsewhere, copied
    )


def _kept(path: str, version: int) -> bool:
    """Whether a file of a table that is no row belongs to the table at this version: its log so far, responses, marks."""
    if match := _LOG.fullmatch(path):
        return int(match[1]) <= version
    return path.startswith("_") and not path.startswith("_delta_log/")


def _at(store: Lake, path: str, version: int):
    from deltalake import DeltaTable

    return DeltaTable(store.address(path), version, storage_options=store.storage_options)
