"""Light SQL on the way in: which statements are allowed, and running one over some rows of a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asgard_assets.lake import duck

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

TABLE = "files"
CARRIED = ("_row", "_rescued_data", "_file")
"""Columns of the loader that a statement may read; a `*` does not bring them."""
_OURS = "asgard_carries"
_PLACE = "\n\nLINE "
"""Where DuckDB goes on to show the statement, with what was added to it."""


class QueryError(ValueError):
    """The SQL is not what may run on the way in, or it does not fit a file."""


def check_query(sql: str) -> str:
    """The statement as it will run. Raises QueryError unless it works row by row on `files` alone."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError

    try:
        statements = [s for s in sqlglot.parse(sql, read="duckdb") if s is not None]
    except ParseError as error:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        raise QueryError(f"is no SQL that DuckDB reads: {plain}") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Select):
        raise QueryError("must be one SELECT statement")
    select = statements[0]
    refused = {
        exp.Join: "a join",
        exp.AggFunc: "an aggregate",
        exp.Window: "a window function",
        exp.Subquery: "a subquery",
        exp.Group: "GROUP BY",
        exp.Order: "ORDER BY",
        exp.Limit: "LIMIT",
        exp.Offset: "OFFSET",
        exp.Distinct: "DISTINCT",
        exp.With: "WITH",
        exp.SetOperation: "UNION and its like",
        exp.Unnest: "UNNEST",
        exp.Explode: "UNNEST",
        exp.Qualify: "QUALIFY",
        exp.TableSample: "a sample",
    }
    for kind, name in refused.items():
        if select.find(kind):
            raise QueryError(f"has {name}: on the way in each row stands alone; do this in Silver")
    if len(list(select.find_all(exp.Select))) > 1:
        raise QueryError("has a subquery: on the way in each row stands alone; do this in Silver")
    tables = list(select.find_all(exp.Table))
    if [t.sql() for t in tables] != [TABLE]:
        raise QueryError(f"must read from `{TABLE}` and nothing else")
    return select.sql(dialect="duckdb")


def outputs(sql: str) -> list[str]:
    """Names of the columns that the statement makes; those of a `*` are not known before there is a file."""
    return [name for e in _parsed(sql).selects if (name := e.alias_or_name) != "*"]


def inputs(sql: str) -> list[str]:
    """Names of the columns that the statement reads. A name that an earlier expression gave (`a + 1 as b, b * 2`) is
    none of them, as in DuckDB where the file has no such column."""
    from sqlglot import exp

    select = _parsed(sql)
    given, wanted = set[str](), dict[str, None]()

    def look(part: exp.Expr) -> None:
        for column in part.find_all(exp.Column):
            fields = column.table and column.table.lower() != TABLE  # `person.name` reads a struct
            if not fields and not isinstance(column.this, exp.Star) and column.name.lower() not in given:
                wanted.setdefault(column.name)

    for expression in select.selects:
        look(expression)
        given.add(expression.alias.lower())
    for part in ("where", "having"):
        if found := select.args.get(part):
            look(found)
    return list(wanted)


def _parsed(sql: str) -> exp.Select:
    import sqlglot
    from sqlglot import exp

    select = sqlglot.parse_one(sql, read="duckdb")
    assert isinstance(select, exp.Select)
    return select


def run_query(sql: str, rows: pa.Table) -> tuple[pa.Table, pa.Array, pa.Array]:
    """What the statement makes of `rows`: its columns, and of each row left `_row` and `_rescued_data`.

    Raises QueryError where it fails on them.
    """
    import duckdb

    select = _parsed(sql)
    # Under names of our own: `*` brings the two as well, and nobody else's name is hidden.
    carried = ("_row", "_rescued_data")  # the file is the same for all
    select = select.select(*(f'{TABLE}."{name}" as "{_OURS}{name}"' for name in carried), dialect="duckdb")
    with duck.connect(threads=1) as connection:
        connection.register(TABLE, rows)
        try:
            found = connection.execute(select.sql(dialect="duckdb")).to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(f"`sql` does not fit: {str(error).partition(_PLACE)[0]}") from error
    row, rescued = (found[f"{_OURS}{name}"] for name in carried)
    names = found.column_names
    mine = [n for n, name in enumerate(names) if name not in CARRIED and not name.startswith(_OURS)]
    return found.select(mine), row, rescued
