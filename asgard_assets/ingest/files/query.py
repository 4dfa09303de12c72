"""Light SQL on the way in: which statements are allowed, and running one over some rows of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "files"


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
        raise QueryError(f"is no SQL that DuckDB reads: {error}") from error
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


def run_query(sql: str, rows: pa.Table) -> pa.Table:
    """The rows that the statement makes of `rows`; `_row` and `_rescued_data` are carried along.

    Raises QueryError where it fails on them.
    """
    import duckdb
    import sqlglot
    from sqlglot import exp

    select = sqlglot.parse_one(sql, read="duckdb")
    assert isinstance(select, exp.Select)
    star = any(isinstance(e, exp.Star) for e in select.expressions)
    if not star:
        select = select.select("_row", "_rescued_data")
    with duckdb.connect(config={"threads": 1, "enable_external_access": "false"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register(TABLE, rows)
        try:
            return connection.execute(select.sql(dialect="duckdb")).to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(f"`sql` does not fit: {error}") from error
