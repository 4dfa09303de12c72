"""Data products: the Gold tables, what they promise, and their rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.lake.sql import identifier
from asgard_assets.transforms import managed

STAGE = "gold"
MASK = "***"
Operator = Literal["eq", "ne", "lt", "le", "gt", "ge"]
_SIGNS: dict[str, str] = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_FILTER = re.compile(r"([^:]{1,200}):(eq|ne|lt|le|gt|ge):(.{0,1000})", re.DOTALL)


@dataclass(frozen=True)
class ProductColumn:
    """A column, with its SQL type. `masked`: some accounts see it as ***."""

    name: str
    type: str
    masked: bool = False


@dataclass(frozen=True)
class Product:
    """A Gold table. `updated`: when its newest version was committed, ISO 8601."""

    name: str
    table: str
    description: str
    owner: str
    version: int
    updated: str
    columns: tuple[ProductColumn, ...]


@dataclass(frozen=True)
class Rows:
    """A page of rows, in the order of all their values."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool


class Products:
    """The products of a lake. `masked` are names of columns that only some accounts see."""

    def __init__(self, lake: Lake, owner: str, masked: Collection[str] = ()) -> None:
        self._lake, self._owner = lake, owner
        self._masked = {name.lower() for name in masked}

    def list(self, sees: Callable[[str], bool] = lambda _: True) -> list[Product]:
        """All of them that the caller may read, by name."""
        names = [name for stage, name in self._lake.tables() if stage == STAGE]
        found = [self._product(name) for name in names]
        return [one for one, place in found if not place or sees(place)]

    def get(self, name: str, sees: Callable[[str], bool] = lambda _: True) -> Product:
        """Raises NotFoundError where there is no such product, or it belongs to a workspace that is not seen."""
        if (STAGE, name) in self._lake.tables():
            found, place = self._product(name)
            if not place or sees(place):
                return found
        raise NotFoundError(f"there is no data product {name[:100]!r}; see GET /data-products")

    def rows(
        self,
        product: Product,
        limit: int,
        offset: int,
        filters: Sequence[str] = (),
        columns: Sequence[str] = (),
        clear: bool = False,
    ) -> Rows:
        """A page. `clear`: columns that are masked are shown. Raises ConfigError where a filter or column is none."""
        known = {column.name: column for column in product.columns}
        chosen = [_known(known, name) for name in columns] or list(known.values())
        shown = [
            f"'{MASK}' as {identifier(one.name)}" if one.masked and not clear else identifier(one.name)
            for one in chosen
        ]
        conditions, values = list[str](), list[Any]()
        for text in filters:
            condition, value = _condition(known, text, clear)
            conditions.append(condition)
            values.append(value)
        where = f" where {' and '.join(conditions)}" if conditions else ""
        table = f"{identifier(STAGE)}.{identifier(product.name)}"
        query = f"select {', '.join(shown)} from {table}{where} order by all limit {int(limit) + 1} offset {int(offset)}"
        import duckdb

        with self._lake.connect(tables=[f"{STAGE}/{product.name}"]) as connection:
            try:
                found = connection.execute(query, values).fetchall()
            except duckdb.ConversionException as error:
                raise ConfigError(
                    f"a filter's value does not fit its column: {str(error).splitlines()[0]}"
                ) from error
        return Rows(tuple(one.name for one in chosen), tuple(map(tuple, found[:limit])), len(found) > limit)

    def _product(self, name: str) -> tuple[Product, str]:
        """The product, and the workspace that made it through the API; empty: the project's own files."""
        table = self._lake.table(STAGE, name)
        assert table is not None
        when = datetime.fromtimestamp(table.history(1)[0]["timestamp"] / 1000, UTC)
        columns = tuple(
            ProductColumn(field.name, _sql_type(field.type), field.name.lower() in self._masked)
            for field in table.schema().fields
        )
        made = self._made(name)
        owner = (made.owner if made else "") or self._owner
        description = (made.description or made.sql) if made else (table.metadata().description or "")
        product = Product(
            name,
            f"{STAGE}.{name}",
            description,
            owner,
            table.version(),
            f"{when:%Y-%m-%dT%H:%M:%SZ}",
            columns,
        )
        return product, made.workspace if made else ""

    def _made(self, name: str) -> managed.Transform | None:
        try:
            found = managed.load(self._lake, name).transform
        except ConfigError:
            return None
        return found if found.stage == STAGE else None


def contract(product: Product) -> dict[str, Any]:
    """What the product promises, as an Open Data Contract (ODCS 3)."""
    properties = [{"name": c.name, "logicalType": c.type, "physicalType": c.type} for c in product.columns]
    return {
        "apiVersion": "v3.0.2",
        "kind": "DataContract",
        "id": product.table,
        "name": product.name,
        "version": f"{product.version}",
        "status": "active",
        "description": {"purpose": product.description},
        "team": [{"username": product.owner, "role": "owner"}],
        "schema": [
            {
                "name": product.name,
                "physicalName": product.table,
                "logicalType": "object",
                "properties": properties,
            }
        ],
    }


def _known(columns: dict[str, ProductColumn], name: str) -> ProductColumn:
    if name not in columns:
        raise ConfigError(f"{name[:100]!r} is no column; there are: {', '.join(columns)}")
    return columns[name]


def _condition(columns: dict[str, ProductColumn], text: str, clear: bool) -> tuple[str, Any]:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"filter: {text[:100]!r} is none; write column:eq:value, with eq, ne, lt, le, gt or ge"
        )
    column = _known(columns, match[1])
    if column.masked and not clear:
        raise ConfigError(f"filter: the column {column.name} is masked for this account")
    name = identifier(column.name)
    return f"{name} {_SIGNS[match[2]]} cast(? as {_duckdb_type(column.type)})", match[3]


def _sql_type(kind: Any) -> str:
    return (
        str(getattr(kind, "type", ""))
        if type(kind).__name__ == "PrimitiveType"
        else type(kind).__name__.removesuffix("Type").lower()
    )


def _duckdb_type(kind: str) -> str:
    """The type for a comparison; raises ConfigError where values of it cannot be compared."""
    plain = {
        "string": "varchar", "long": "bigint", "integer": "integer", "short": "smallint", "byte": "tinyint", "float": "float",
        "double": "double", "boolean": "boolean", "date": "date", "timestamp": "timestamptz", "timestamp_ntz": "timestamp",
    }  # fmt: skip
    if kind in plain:
        return plain[kind]
    if re.fullmatch(r"decimal\(\d+,\s*\d+\)", kind):
        return kind
    raise ConfigError(f"filter: values of the type {kind} cannot be compared")
