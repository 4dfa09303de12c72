"""Published tables as Iceberg tables of a catalog: a copy that follows Delta, partition by partition.

Delta stays the truth. The properties of the Iceberg table say which version of which Delta table it holds. A follow-up
copies the partitions that changed since, in one Iceberg commit together with those properties. So it may be repeated,
interrupted, and done by two processes at once. Why a copy: docs/decisions/0010-iceberg-by-copy.md.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from asgard_assets.catalogs import null_lists
from asgard_assets.catalogs.receipts import Followed, Kind, note, place_of
from asgard_assets.catalogs.source import Part, Source
from asgard_assets.errors import CatalogError
from asgard_assets.lake import Lake

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table

VERSION, TABLE_ID = "asgard.delta-version", "asgard.delta-table-id"
_COLUMNS, _PARTITIONED = "asgard.delta-columns", "asgard.delta-partitioned-by"
_TRIES = 5


class IcebergCatalog:
    """An Iceberg catalog that follows tables of a lake. `properties` are pyiceberg's.

    Tables are named `stage/name`. Each method raises CatalogError where the catalog cannot be reached or refuses.
    """

    kind: Kind = "iceberg"

    def __init__(self, properties: Mapping[str, str]):
        self.properties = dict(properties)

    @property
    def place(self) -> str:
        return place_of(self.properties.get("uri", ""))

    @cached_property
    def opened(self) -> Catalog:
        """The catalog itself, as any program opens it."""
        from pyiceberg.catalog import load_catalog

        null_lists.keep()
        return load_catalog("asgard", **self.properties)

    def version(self, table: str) -> int:
        """The Delta version that the catalog has of the table; -1 where it has none."""
        with named(f"{table} cannot be looked up"):
            found = self.load(table)
        return -1 if found is None else int(found.properties.get(VERSION, -1))

    def tables(self) -> list[str]:
        """The tables of the catalog that follow a Delta table."""
        with named("the tables cannot be listed"):
            names = [
                f"{space[0]}/{name[-1]}"
                for space in self.opened.list_namespaces()
                for name in self.opened.list_tables(space)
            ]
            return sorted(
                name for name in names if (found := self.load(name)) and TABLE_ID in found.properties
            )

    def follow(self, lake: Lake, table: str) -> Followed:
        """Bring the Iceberg table to the newest version of the Delta table, and leave a receipt in the lake."""
        found = self.brought(lake, table)
        note(lake, self, found)
        return found

    def brought(self, lake: Lake, table: str) -> Followed:
        """Bring the Iceberg table to the newest version of the Delta table; drop it where that is gone.

        If somebody else commits to it meanwhile, it is looked at and done again.
        """
        began, done = time.monotonic(), Followed(table, "absent", -1)
        for left in reversed(range(_TRIES)):
            try:
                with named(f"{table} cannot follow"):
                    done = self._follow(lake, table)
                    break
            except (*_conflicts(), ValueError) as error:
                if isinstance(error, ValueError) and "UUID does not match" not in str(error):
                    raise  # else another sync made the table anew
                if not left:
                    raise CatalogError(
                        f"{table}: others commit to its Iceberg table at each try: {error}"
                    ) from error
                time.sleep(0.2 * (_TRIES - left))
        return replace(done, seconds=round(time.monotonic() - began, 3))

    def _follow(self, lake: Lake, table: str) -> Followed:
        from pyiceberg.exceptions import RESTError

        stage, _, name = table.partition("/")
        snapshot, there = lake.snapshot(stage, name), self.load(table)
        if there is not None and TABLE_ID not in there.properties:
            raise CatalogError(
                f"{table}: the catalog has a table {stage}.{name} that does not come from this lake. Rename or drop it "
                "there, or take the table out of ASGARD_ICEBERG_TABLES"
            )
        if snapshot.delta is None:
            if there is None:
                return Followed(table, "absent", -1)
            self.opened.drop_table((stage, name))
            return Followed(table, "dropped", -1)
        properties = {} if there is None else there.properties
        at = int(properties.get(VERSION, -1))
        same = properties.get(TABLE_ID) == snapshot.table_id
        if same and at >= snapshot.version:
            return Followed(table, "current", at)
        with closing(Source(lake, table, snapshot)) as source:
            parts = source.changed_since(at) if same else None
            if there is None or not _fits(properties, source):
                there, parts = self._made_anew(there, source), None
            try:
                partitions, rows = _copy(there, source, parts)
            except _conflicts():
                raise  # somebody else's commit: it is looked at again
            except RESTError:
                if _names(there) == source.columns.keys():
                    raise
                # Nessie 0.99 refuses new columns as clients of today send them.
                there, parts = self._made_anew(there, source), None
                partitions, rows = _copy(there, source, parts)
        return Followed(table, "copied" if parts is None else "followed", snapshot.version, partitions, rows)

    def load(self, table: str) -> Table | None:
        """The Iceberg table as it is now; None where there is none."""
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

        stage, _, name = table.partition("/")
        try:
            return self.opened.load_table((stage, name))
        except (NoSuchTableError, NoSuchNamespaceError):
            return None

    def _made_anew(self, there: Table | None, source: Source) -> Table:
        """An empty table with the columns of the source. Its first properties say that it holds nothing yet."""
        place = (source.stage, source.name)
        if there is not None:
            self.opened.drop_table(place)
        self.opened.create_namespace_if_not_exists(source.stage)
        made = self.opened.create_table(place, source.schema, properties={TABLE_ID: "", VERSION: "-1"})
        if source.partitioned_by:
            with made.update_spec() as spec:
                for column in source.partitioned_by:
                    spec.add_identity(column)
        return self.opened.load_table(place)


def _fits(properties: Mapping[str, str], source: Source) -> bool:
    """Whether the Iceberg table can become what the source is: by new columns alone."""
    known: dict[str, str] = json.loads(properties.get(_COLUMNS, "{}"))
    partitioned = json.loads(properties.get(_PARTITIONED, "null"))
    return partitioned == source.partitioned_by and all(
        source.columns.get(c) == kind for c, kind in known.items()
    )


def _names(table: Table) -> set[str]:
    return {field.name for field in table.schema().fields}


def _copy(table: Table, source: Source, parts: Sequence[Part] | None) -> tuple[int, int]:
    """Replace some partitions, of None all rows, in one commit. Gives back how many partitions and rows."""
    from pyiceberg.expressions import AlwaysTrue

    wanted = parts
    if parts is None:
        wanted = source.partitions()
    count = 0
    with table.transaction() as change:
        if _names(table) != source.columns.keys():
            with change.update_schema() as update:
                update.union_by_name(source.schema)
        if table.current_snapshot() is not None and (parts is None or parts):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Delete operation did not match")  # of days that are new
                change.delete(AlwaysTrue() if parts is None else any_of(parts))
        for rows in source.rows(wanted):
            change.append(rows)
            count += rows.num_rows
        if parts is None and count != (there := source.count()):
            raise CatalogError(
                f"{source.stage}/{source.name}: {count} of {there} rows were read; nothing was copied"
            )
        change.set_properties(
            {
                VERSION: str(source.snapshot.version),
                TABLE_ID: source.snapshot.table_id,
                _COLUMNS: json.dumps(source.columns),
                _PARTITIONED: json.dumps(source.partitioned_by),
            }
        )
    return len(wanted or ()), count


def any_of(parts: Sequence[Part]) -> BooleanExpression:
    """The rows of these partitions."""
    from pyiceberg.expressions import And, EqualTo, IsNull, Or

    # Their constructors have no types that a checker could read.
    each, is_null, equals = list[Any](), cast(Any, IsNull), cast(Any, EqualTo)
    for part in parts:
        terms = [
            is_null(column) if value is None else equals(column, value) for column, value in part.items()
        ]
        each.append(And(*terms) if len(terms) > 1 else terms[0])
    return Or(*each) if len(each) > 1 else each[0]


def _conflicts() -> tuple[type[Exception], ...]:
    """What a catalog raises where somebody else made, changed or dropped the table meanwhile."""
    from pyiceberg.exceptions import (
        CommitFailedException,
        NoSuchTableError,
        TableAlreadyExistsError,
        ValidationException,
    )
    from sqlalchemy.exc import (
        IntegrityError,
    )  # of a catalog in SQLite: a namespace that another sync just made

    return (
        CommitFailedException,
        NoSuchTableError,
        TableAlreadyExistsError,
        ValidationException,
        IntegrityError,
    )


@contextmanager
def named(what: str) -> Iterator[None]:
    """What a catalog, or the way to it, raises as a CatalogError that says what could not be done."""
    from pyiceberg.exceptions import RESTError, ServerError
    from requests import RequestException

    try:
        yield
    except _conflicts():
        raise
    except (RESTError, ServerError, RequestException, OSError) as error:
        raise CatalogError(f"Iceberg catalog: {what}: {str(error).splitlines()[0][:300]}") from error
