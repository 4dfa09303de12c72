"""Which columns a table has after a commit: those of the new rows, and those that its other rows still hold."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from asgard_assets.errors import LakeError
from asgard_assets.lake.sql import type_name
from asgard_assets.lake.statistics import delta_type

if TYPE_CHECKING:
    import pyarrow as pa


def merged(
    table: str, present: pa.Schema, staged: pa.Schema, held: Callable[[Collection[str]], Collection[str]]
) -> pa.Schema:
    """The table's columns with those that `staged` adds, changes or no longer has.

    `held` says which of some columns are in a file that stays. One that is in none has the type that the new rows
    give it, and is gone where they do not have it: a column that was retyped, renamed or dropped on purpose is so once
    every partition was built again. Raises LakeError where a column that is held changes its type.
    """
    import pyarrow as pa

    new = {field.name: field for field in staged}
    other = [f.name for f in present if f.name not in new or not same_type(f, new[f.name])]
    kept = set(held(other)) if other else set[str]()
    found = dict[str, pa.Field]()
    for field in present:
        if field.name not in other or (field.name in kept and field.name not in new):
            found[field.name] = field
        elif field.name in kept:
            raise LakeError(
                f"{table}: column {field.name} is {field.type} in the table and {new[field.name].type} in the new data; "
                "cast it in the transformation, or build all partitions in one run, or change the rows that are there: "
                f"asgard migrate retype {table} {field.name} {type_name(new[field.name].type)}",
                table=table,
            )
        elif field.name in new:
            found[field.name] = new[field.name]
    return pa.schema([*found.values(), *(field for field in staged if field.name not in found)])


def same_type(left: pa.Field, right: pa.Field) -> bool:
    return delta_type(left.type) == delta_type(right.type)
