"""Which tables a catalog has, which it should have, and the way from one to the other. The receipts in the lake say what
it has without asking it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from asgard_assets.catalogs.iceberg import RECEIPTS, Followed, IcebergCatalog
from asgard_assets.errors import AsgardError, ConfigError
from asgard_assets.ingest.api.source.secrets import resolve
from asgard_assets.lake import Lake
from asgard_assets.lake.store import Store
from asgard_assets.settings import Settings

_REFERENCES = ("env:", "file:", "aws-secret:")


@dataclass(frozen=True)
class Standing:
    """A table in the lake and in the catalog: its Delta version in each, -1 where it is not there."""

    table: str
    lake_version: int
    catalog_version: int

    @property
    def current(self) -> bool:
        return self.lake_version == self.catalog_version


@dataclass(frozen=True)
class Failed:
    """A table that could not follow, and why. What the catalog had of it is as it was."""

    table: str
    reason: str


def catalog_of(settings: Settings, lake: Store) -> IcebergCatalog:
    """The catalog that the settings name, with the lake's keys. Raises ConfigError where they name none."""
    if not settings.iceberg:
        raise ConfigError(
            "no catalog is set: ASGARD_ICEBERG is the address of an Iceberg REST catalog, such as "
            "http://nessie:19120/iceberg, or sqlite:///catalog.db for one without a server (docs/catalogs.md)"
        )
    given = {name: _resolved(value) for name, value in settings.iceberg_options.items()}
    if settings.iceberg.startswith("sqlite:"):
        given = {"type": "sql", "uri": settings.iceberg, "warehouse": _beside(settings.iceberg)} | given
    elif settings.iceberg.startswith(("http://", "https://")):
        # The server need not hand out keys: this process has its own.
        given = {
            "type": "rest",
            "uri": settings.iceberg,
            "header.X-Iceberg-Access-Delegation": "none",
        } | given
    else:
        raise ConfigError(
            f"ASGARD_ICEBERG is {settings.iceberg!r}: it must begin with http://, https:// or sqlite:"
        )
    return IcebergCatalog(_keys(lake) | given)


def _resolved(value: str) -> str:
    return resolve(value, "ASGARD_ICEBERG_OPTIONS").value if value.startswith(_REFERENCES) else value


def _beside(address: str) -> str:
    """The folder of the files of a catalog in SQLite."""
    return (Path(address.removeprefix("sqlite:///")).absolute().parent / "iceberg").as_uri()


def _keys(lake: Store) -> dict[str, str]:
    if not lake.remote:
        return {}
    keys = lake.keys
    found = {
        "s3.access-key-id": keys.access_key,
        "s3.secret-access-key": keys.secret_key,
        "s3.region": lake.region,
    }
    if keys.token:
        found["s3.session-token"] = keys.token
    return found | ({"s3.endpoint": lake.endpoint} if lake.endpoint else {})


def wanted(lake: Lake, patterns: Sequence[str]) -> list[str]:
    """Tables of the lake whose `stage/name` fits one of the patterns, such as gold/*."""
    names = (f"{stage}/{name}" for stage, name in lake.tables())
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def standings(lake: Lake, patterns: Sequence[str]) -> list[Standing]:
    """How far the catalog is with each table, by the receipts: those that fit, and those that it still has."""
    noted = {table: int(receipt.get("version", -1)) for table, receipt in receipts(lake).items()}
    here = wanted(lake, patterns)
    gone = [table for table, version in noted.items() if version >= 0 and table not in here]
    return [
        *(Standing(table, lake.version(*table.split("/", 1)), noted.get(table, -1)) for table in here),
        *(Standing(table, -1, noted[table]) for table in gone if lake.version(*table.split("/", 1)) < 0),
    ]


def receipts(lake: Lake) -> dict[str, dict[str, Any]]:
    """What was done last with each table, as the lake remembers it."""
    found = dict[str, dict[str, Any]]()
    for stage in {name.partition("/")[0] for name in _receipt_names(lake)}:
        for name in lake.names(f"{RECEIPTS}/{stage}"):
            if name.endswith(".json"):
                found[f"{stage}/{name.removesuffix('.json')}"] = json.loads(
                    lake.get(f"{RECEIPTS}/{stage}/{name}")
                )
    return found


def _receipt_names(lake: Lake) -> list[str]:
    from pyarrow import fs as pafs

    selector = pafs.FileSelector(lake.address(RECEIPTS), allow_not_found=True)
    return [
        info.base_name
        for info in lake.filesystem.get_file_info(selector)
        if info.type == pafs.FileType.Directory
    ]


def sync(lake: Lake, catalog: IcebergCatalog, tables: Iterable[str]) -> Iterator[Followed | Failed]:
    """Let each table follow. One that cannot keeps no other from it."""
    for table in tables:
        try:
            yield catalog.follow(lake, table)
        except AsgardError as error:
            yield Failed(table, str(error))
