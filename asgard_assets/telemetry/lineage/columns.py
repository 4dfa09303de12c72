"""The way of a column: what it is made of, and what is made of it, as far as tables tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

How = Literal["query", "same name", "in the record", "table"]
"""query: SQL says so. same name: both tables have it. in the record: a field of a JSON column. table: only that the
table is read."""
PAYLOAD = "payload"
EVERY = "*"
_Step = Callable[[str, str], Iterable[tuple[str, str, How]]]


@dataclass(frozen=True)
class TableColumns:
    """A table with its columns, the tables that it reads, and of its columns those that are known to be made of others."""

    table: str
    columns: Sequence[str] = ()
    parents: Sequence[str] = ()
    made_of: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    reads: str = ""
    """What lies outside of the graph: the address of an API, a topic."""


@dataclass(frozen=True)
class Edge:
    """A column is made of another one. `depth`: how many tables lie between it and the column that was asked for."""

    table: str
    column: str
    of_table: str
    of_column: str
    how: How
    depth: int


def upstream(tables: Mapping[str, TableColumns], table: str, column: str) -> list[Edge]:
    """What the column is made of, back to the sources; nearer ones first."""
    return list(_walk(table, column, lambda t, c: _parents(tables, t, c)))


def downstream(tables: Mapping[str, TableColumns], table: str, column: str) -> list[Edge]:
    """What is made of the column, up to models and sinks; nearer ones first."""
    children: dict[tuple[str, str], list[tuple[str, str, How]]] = {}
    for one in tables.values():
        for name in one.columns or (EVERY,):
            for parent, of, how in _parents(tables, one.table, name):
                for known in dict.fromkeys(
                    (of, of.partition(".")[0])
                ):  # who asks for a record asks for its fields
                    children.setdefault((parent, known), []).append((one.table, name, how))
    found = _walk(table, column, lambda t, c: children.get((t, c), ()))
    return [Edge(e.of_table, e.of_column, e.table, e.column, e.how, e.depth) for e in found]


def _walk(table: str, column: str, step: _Step) -> Iterator[Edge]:
    seen, queue = {(table, column)}, [(table, column, 0)]
    while queue:
        at, name, depth = queue.pop(0)
        for other, of, how in step(at, name):
            yield Edge(at, name, other, of, how, depth)
            if (other, of) not in seen:
                seen.add((other, of))
                queue.append((other, of, depth + 1))


def _parents(tables: Mapping[str, TableColumns], table: str, column: str) -> list[tuple[str, str, How]]:
    found = tables.get(table)
    if found is None:
        return []
    if column in found.made_of:
        return [(parent, of, "query") for parent, of in found.made_of[column]]
    known: list[tuple[str, str, How]] = [
        (parent, of, how) for parent in found.parents for of, how in _alike(tables, parent, column)
    ]
    if not known:
        known = [(parent, EVERY, "table") for parent in found.parents]
    first, _, rest = column.partition(".")
    if found.reads and first in (PAYLOAD, EVERY):  # the other columns are ours: times, ids, the window
        how: How = "same name" if rest else "table"
        known.append((found.reads, rest or EVERY, how))
    return known


def _alike(tables: Mapping[str, TableColumns], parent: str, column: str) -> Iterator[tuple[str, How]]:
    """The column of the parent that it comes from. A feature is called by its column, or view__column."""
    columns = tables[parent].columns if parent in tables else ()
    name = column.removeprefix(f"{parent.rpartition('/')[2]}__")
    if name.partition(".")[0] in columns:
        yield name, "same name"
    elif PAYLOAD in columns and name != EVERY:
        yield f"{PAYLOAD}.{name}", "in the record"
