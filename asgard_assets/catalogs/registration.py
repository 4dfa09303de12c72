"""Which tables each catalog has, which it should have, and the way from one to the other. The receipts in the lake say
what it has without asking it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from asgard_assets.catalogs.branches import AuditedCatalog
from asgard_assets.catalogs.hive import HiveMetastore
from asgard_assets.catalogs.iceberg import IcebergCatalog
from asgard_assets.catalogs.receipts import Catalog, Followed, Kind, noted, place_of, receipt_of
from asgard_assets.errors import AsgardError, ConfigError
from asgard_assets.ingest.api.source.secrets import resolve
from asgard_assets.lake import Lake
from asgard_assets.lake.snapshot import TableLog
from asgard_assets.lake.store import Store
from asgard_assets.settings import REFERENCES, Settings


@dataclass(frozen=True)
class Standing:
    """A table in the lake and in a catalog: its Delta version in each, -1 where it is not there.

    `held`: the version that waits on a branch for a person to publish it, -1 for none.
    """

    catalog: Kind
    table: str
    lake_version: int
    catalog_version: int
    held: int = -1

    @property
    def current(self) -> bool:
        """Whether there is nothing to do for a sync."""
        return self.lake_version == max(self.catalog_version, self.held)


@dataclass(frozen=True)
class Failed:
    """A table that could not follow, and why. What the catalog had of it is as it was."""

    table: str
    reason: str


def wanted_by(settings: Settings) -> dict[Kind, tuple[str, ...]]:
    """The catalogs that the settings name, each with the patterns of its tables."""
    found: dict[Kind, tuple[str, ...]] = {}
    if settings.iceberg:
        found["iceberg"] = settings.iceberg_tables
    if settings.hive_metastore:
        found["hive"] = settings.hive_tables
    return found


def place(settings: Settings, kind: Kind) -> str:
    """Which catalog the settings name, as receipts say it."""
    iceberg = settings.iceberg_options.get("uri", settings.iceberg)
    return place_of({"iceberg": iceberg, "hive": settings.hive_metastore}[kind])


def opened(settings: Settings, lake: Store, kind: Kind) -> Catalog:
    """A catalog of the settings. Raises ConfigError where they do not name it."""
    if kind == "iceberg":
        found = catalog_of(settings, lake)
        if not settings.iceberg_audit:
            return found
        return AuditedCatalog(found, settings.iceberg_audit, settings.iceberg_merge == "by_hand")
    if not settings.hive_metastore:
        raise ConfigError(
            "no Hive Metastore is set: ASGARD_HIVE_METASTORE is its address, such as thrift://metastore:9083"
        )
    return HiveMetastore(settings.hive_metastore)


def catalog_of(settings: Settings, lake: Store) -> IcebergCatalog:
    """The Iceberg catalog that the settings name, with the lake's keys. Raises ConfigError where they name none."""
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
    return resolve(value, "ASGARD_ICEBERG_OPTIONS").value if value.startswith(REFERENCES) else value


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


def wanted(lake: Lake, patterns: Sequence[str], known: Iterable[str] = ()) -> list[str]:
    """Tables of the lake whose `stage/name` fits one of the patterns, such as gold/*.

    One request for each stage; and one for each table, but not for those that are `known` to be tables.
    """
    known = set(known)
    found = [
        f"{stage}/{name}"
        for stage in lake.folders("")
        if not stage.startswith("_") and any(fnmatchcase(stage, each.partition("/")[0]) for each in patterns)
        for name in lake.folders(stage)
    ]
    return [
        table
        for table in found
        if any(fnmatchcase(table, pattern) for pattern in patterns)
        and (table in known or lake.names(f"{table}/_delta_log"))
    ]


def standings(
    lake: Lake,
    kind: Kind,
    patterns: Sequence[str],
    known: Mapping[str, int] | None = None,
    place: str = "",
) -> list[Standing]:
    """How far the catalog is with each table, by the receipts: those that fit, and those that it still has.

    With `place`, receipts of another catalog do not count.

    `known`: tables that were current before, each with its version. One that has no later version is not looked at
    again; that one was made anew meanwhile, with fewer versions, is then not noticed.
    """
    known = known or {}
    here = wanted(lake, patterns, known)
    gone = [table for table in noted(lake, kind) if table not in here]
    return [
        *(_standing(lake, kind, table, known.get(table), place) for table in here),
        *(each for table in gone if (each := _gone(lake, kind, table, place))),
    ]


def _standing(lake: Lake, kind: Kind, table: str, known: int | None, place: str) -> Standing:
    if known is not None and TableLog(lake, table).entry(known + 1) is None:
        return Standing(kind, table, known, known)
    receipt = _receipt(lake, kind, table, place)
    version, held = int(receipt.get("version", -1)), int(receipt.get("held", -1))
    return Standing(kind, table, lake.version(*table.split("/", 1)), version, held)


def _receipt(lake: Lake, kind: Kind, table: str, place: str) -> dict[str, Any]:
    found = receipt_of(lake, kind, table) or {}
    return found if not place or found.get("place") == place else {}


def _gone(lake: Lake, kind: Kind, table: str, place: str) -> Standing | None:
    """A table that the catalog has and the lake has no more. One that fits no pattern any more is left to itself."""
    version = int(_receipt(lake, kind, table, place).get("version", -1))
    return (
        Standing(kind, table, -1, version)
        if version >= 0 and lake.version(*table.split("/", 1)) < 0
        else None
    )


def chosen(lake: Lake, catalog: Catalog, patterns: Sequence[str]) -> list[str]:
    """What a sync of all looks at: tables that fit, by the receipts and by the catalog itself, with those that are gone.

    Where the catalog cannot be asked, the receipts alone say which.
    """
    found = {each.table for each in standings(lake, catalog.kind, patterns, place=catalog.place)}
    try:
        listed = catalog.tables()
    except AsgardError:
        listed = []  # the sync of each table says why
    gone = {each for each in listed if any(fnmatchcase(each, pattern) for pattern in patterns)}
    return sorted(found | gone)


def sync(lake: Lake, catalog: Catalog, tables: Iterable[str]) -> Iterator[Followed | Failed]:
    """Let each table follow. One that cannot keeps no other from it."""
    for table in tables:
        try:
            yield catalog.follow(lake, table)
        except AsgardError as error:
            yield Failed(table, str(error))
