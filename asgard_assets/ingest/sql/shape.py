"""What a load does with columns that changed: the modes of the autoloader, for the columns of a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.files.shape.schema import Change, differences
from asgard_assets.ingest.files.source.types import normal, unify
from asgard_assets.ingest.sql.fields import Field
from asgard_assets.ingest.sql.source import TECHNICAL, SqlTable
from asgard_assets.lake import DS
from asgard_assets.lake.sql import arrow_type, type_name

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Shape:
    """The fields that are read, the table's columns after the load, and how those differ from before."""

    fields: tuple[Field, ...]
    columns: Mapping[str, pa.DataType]
    numbered: bool
    changes: tuple[Change, ...] = ()
    absent: tuple[str, ...] = ()
    retype: bool = False
    second: str = ""
    """The column that cuts the table beside time; it is in the folders' names, and in no file."""

    @property
    def schema(self) -> pa.Schema:
        """The table's columns, with those that the loader adds."""
        import pyarrow as pa

        technical = [n for n in TECHNICAL if n != DS and (n != "_row" or self.numbered)]
        added = [(name, arrow_type(TECHNICAL[name].type)) for name in technical]
        second = [(self.second, pa.string())] if self.second else []
        return pa.schema([*self.columns.items(), *added, *second, (DS, pa.string())])


def shape_of(
    source: str,
    table: SqlTable,
    found: Sequence[Field],
    present: Mapping[str, pa.DataType],
    second: str = "",
) -> Shape:
    """`second`: the column that cuts the table beside time.

    Raises ConfigError for columns that the database has not, SourceError for new ones where the mode forbids them."""
    chosen = [field for field in _chosen(source, table, found) if field.name.lower() != second]
    present = {name: kind for name, kind in present.items() if name.lower() != second}
    spelled = {name.lower(): name for name in present}
    fields, columns, stuck, new = list[Field](), dict(present), dict[str, str](), list[str]()
    for field in chosen:
        name = spelled.get(field.name.lower())
        if name is None:
            if not present or table.schema_mode == "addNewColumns":
                columns[field.name] = field.type
                fields.append(field)
            else:
                new.append(field.name)
                if table.schema_mode == "rescue":
                    fields.append(field.rescued())
            continue
        wide = unify(present[name], field.type)
        if wide is None:
            stuck[name] = type_name(field.type)
            fields.append(replace(field, name=name, type=present[name], hexadecimal=False).rescued())
        else:
            columns[name] = wide
            fields.append(replace(field, name=name, type=wide))
    if new and table.schema_mode == "failOnNewColumns":
        raise SourceError(
            f"{source}: {', '.join(new)} are new in the database, and schema_mode is failOnNewColumns. Leave them out "
            "(`exclude`), or set schema_mode: addNewColumns",
            source=source,
        )
    read = {field.name for field in fields}
    absent = tuple(name for name in present if name not in read)
    changes = differences(present, columns, absent, stuck) if present else ()
    retype = any(columns[name] != kind for name, kind in present.items())
    return Shape(tuple(fields), columns, not table.key, changes, absent, retype, second)


def present_columns(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The database's columns of a table in the lake."""
    return {field.name: normal(field.type) for field in schema if field.name not in TECHNICAL}


def _chosen(source: str, table: SqlTable, found: Sequence[Field]) -> list[Field]:
    names = [field.name for field in found]
    doubled = sorted({name for name in names if [n.lower() for n in names].count(name.lower()) > 1})
    if doubled:
        raise ConfigError(
            f"{source}: two columns are named {', '.join(doubled)}; name them otherwise in a `query`"
        )
    there = {name.lower() for name in names}
    wanted = [*table.columns, *table.exclude, *table.key]
    if unknown := [name for name in wanted if name.lower() not in there]:
        raise ConfigError(f"{source}: there is no column {', '.join(unknown)}; there are {', '.join(names)}")
    keep, drop = ({name.lower() for name in each} for each in (table.columns, table.exclude))
    chosen = [f for f in found if (not keep or f.name.lower() in keep) and f.name.lower() not in drop]
    if taken := [field.name for field in chosen if field.name.lower() in TECHNICAL]:
        raise ConfigError(
            f"{source}: {', '.join(taken)}: the loader adds columns of these names itself; leave them out (`exclude`), or "
            "name them otherwise in a `query`"
        )
    return chosen
