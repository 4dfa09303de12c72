"""A column of a database on its way into a table: the SQL that writes its text, and the type that the text is read as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa


@dataclass(frozen=True)
class Field:
    """`value` is SQL for the text of what fits `type`, null for the rest; `misfit` for the text of that rest, null for
    what fits (None: everything fits). `whole` is SQL for the text of any value. `hexadecimal`: the text is hex.
    """

    name: str
    column: str
    native: str
    type: pa.DataType
    value: str
    whole: str
    misfit: str | None = None
    hexadecimal: bool = False

    def rescued(self) -> Field:
        """The field, with every value in _rescued_data and none in its own column."""
        return replace(self, value="null", misfit=self.whole)


class Session(Protocol):
    """A connection inside a read-only transaction."""

    def describe(self, relation: str) -> list[Field]:
        """The columns of a table or a query, in order."""
        ...

    def copy(self, query: str, write: Callable[[bytes], None]) -> None:
        """Run a query of `Dialect.select`; `write` gets its rows as lines of CSV, one or more at a time."""
        ...

    def rows(self, query: str) -> list[tuple[str | None, ...]]:
        """The rows of a query that gives few, as text."""
        ...

    def row(self, query: str) -> tuple[str | None, ...]:
        """The first row of a query, as text."""
        return self.rows(query)[0]

    def rows_guess(self, relation: str) -> int | None:
        """About how many rows a table has, by the server's own statistics; None where it does not say."""
        ...


class Dialect(Protocol):
    """What differs between databases."""

    notes: list[str]

    def sessions(self, count: int, relation: str) -> AbstractContextManager[Sequence[Session]]:
        """Up to `count` sessions that all see one state of the relation."""
        ...

    def relation(self, table: str | None, query: str | None, schema: str | None) -> str:
        """What stands behind `from`."""
        ...

    def select(self, texts: Sequence[str], relation: str, where: str) -> str:
        """The query that writes these texts as lines of CSV."""
        ...

    def name(self, column: str) -> str:
        """The column's name in SQL."""
        ...

    def text(self, expression: str) -> str:
        """The expression's value as text."""
        ...

    def literal(self, field: Field, text: str) -> str:
        """A value of the field's own type, from its text."""
        ...

    def earlier(self, field: Field, literal: str, overlap: float) -> str:
        """SQL for the literal moved back: seconds of a time, days of a date, as a number of anything else."""
        ...

    def ordered(self, field: Field) -> str:
        """SQL for the column, so that the database compares it as the type does: text by its bytes."""
        ...

    def not_after_now(self, field: Field) -> str:
        """A condition that leaves values from the future out; empty where the field is no time."""
        ...


def texts(fields: Sequence[Field]) -> Iterator[str]:
    """What a line of CSV has, in order: each value, and behind it what does not fit, where there can be such."""
    for field in fields:
        yield field.value
        if field.misfit is not None:
            yield field.misfit


def by_name(fields: Sequence[Field]) -> Mapping[str, Field]:
    return {field.name: field for field in fields}
