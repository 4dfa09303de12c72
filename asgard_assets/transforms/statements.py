"""SQL that somebody sends: parsed and checked before Spark sees it, and written anew from what was parsed.

Only queries run: temporary views first, if any, then one query, which is the result. A query reads views that it was
promised and tables of the lake, nothing else: no file, no function that calls Java, no variable of the environment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from asgard_assets.errors import ConfigError

if TYPE_CHECKING:
    from sqlglot import exp

Dialect = Literal["spark", "duckdb"]
MOST_CHARACTERS = 100_000
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,99}")
_CATALOG = "iceberg"
"""The source documents name tables of the lake with this catalog in front; there is one lake."""
_REFUSED = frozenset({"reflect", "java_method", "try_reflect", "input_file_name", "identifier"})
_ONE_QUERY = "write temporary views (create temporary view x as select …), if any, and then one query"


@dataclass(frozen=True)
class Statement:
    """A query as it runs. `view`: the temporary view that it becomes; empty for the result."""

    sql: str
    view: str = ""


@dataclass(frozen=True)
class Script:
    """Checked SQL. `names` are the views that it reads by one name, `tables` those of the lake (stage/name)."""

    statements: tuple[Statement, ...]
    names: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


def view_of(table: str) -> str:
    """The view under which a checked script reads a table of the lake."""
    return table.replace("/", "__")


def parse(sql: str, dialect: Dialect = "spark") -> Script:
    """Raises ConfigError that says what is not possible."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if len(sql) > MOST_CHARACTERS:
        raise ConfigError(f"the SQL has {len(sql):,} characters; at most {MOST_CHARACTERS:,} are read")
    _refuse_variables(sql)
    try:
        parsed = [tree for tree in sqlglot.parse(sql, dialect=dialect) if tree is not None]
    except (SqlglotError, RecursionError) as error:
        raise ConfigError(f"the SQL cannot be parsed: {_plain(error)}") from error
    trees = [tree for tree in parsed if not isinstance(tree, exp.Semicolon)]
    if not trees:
        raise ConfigError(f"the SQL is empty; {_ONE_QUERY}")
    statements, names, tables, views = list[Statement](), dict[str, None](), dict[str, None](), set[str]()
    for number, tree in enumerate(trees):
        last = number == len(trees) - 1
        view, query = ("", tree) if last else _temporary_view(tree)
        if not isinstance(query, exp.Query):
            raise ConfigError(f"{_kind(query)} is no query; {_ONE_QUERY}")
        for name in _read(query, views):
            (tables if "/" in name else names)[name] = None
        written = query.sql(dialect=dialect, identify=True, comments=False)
        _refuse_variables(written)
        statements.append(Statement(written, view))
        views.add(view)
    return Script(tuple(statements), tuple(names), tuple(tables))


def grouped_by(sql: str, dialect: Dialect) -> tuple[str, ...]:
    """The columns of the result that its rows are grouped by, which name a row; none where that is not plain to see."""
    import sqlglot
    from sqlglot import exp

    query = sqlglot.parse_one(sql, dialect=dialect)
    group = query.args.get("group") if isinstance(query, exp.Select) else None
    if group is None or any(
        value for name, value in group.args.items() if name not in ("expressions", "all")
    ):
        return ()
    results = query.expressions
    if group.args.get("all"):
        return tuple(one.alias_or_name for one in results if not one.find(exp.AggFunc))
    found = list[str]()
    for each in group.expressions:
        if isinstance(each, exp.Literal) and each.is_int and 1 <= int(each.name) <= len(results):
            chosen = results[int(each.name) - 1]
        else:
            chosen = next(
                (one for one in results if each in (one, one.unalias()) or one.alias == each.name), None
            )
        if chosen is None or not chosen.alias_or_name:
            return ()
        found.append(chosen.alias_or_name)
    return tuple(found)


def _refuse_variables(sql: str) -> None:
    """Spark fills in ${…} before it parses, dbt what stands in double braces."""
    for mark in ("${", "{{", "{%", "{#"):
        if mark in sql:
            raise ConfigError(f"the SQL has {mark}: variables are not filled in here; write the value")


def _temporary_view(tree: Any) -> tuple[str, Any]:
    from sqlglot import exp

    temporary = isinstance(tree, exp.Create) and tree.kind == "VIEW" and tree.find(exp.TemporaryProperty)
    if not temporary or not isinstance(tree.this, exp.Table):
        raise ConfigError(f"{_kind(tree)} stands before the last statement; {_ONE_QUERY}")
    if tree.this.db or not _NAME.fullmatch(name := tree.this.name.lower()):
        raise ConfigError(f"the temporary view {tree.this.name!r} needs one plain name, such as paid_orders")
    return name, tree.expression


def _read(query: exp.Query, views: Collection[str]) -> Iterator[str]:
    """What the query reads from outside; its references to tables are replaced by their views."""
    from sqlglot import exp

    _refuse(query)
    own = {cte.alias.lower() for cte in query.find_all(exp.CTE)} | set(views)
    for table in list(query.find_all(exp.Table)):
        if not isinstance(table.this, exp.Identifier):
            raise ConfigError(f"{table.sql(dialect='spark')} is no table; name a stream, or stage.table")
        parts = [part.name.lower() for part in table.parts]
        if len(parts) == 3 and parts[0] == _CATALOG:
            parts = parts[1:]
        if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
            raise ConfigError(f"{table.sql(dialect='spark')} is no table; name a stream, or stage.table")
        if len(parts) == 1:
            if parts[0] not in own:
                yield parts[0]
            continue
        name = "/".join(parts)
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(parts[1])))
        table.set("db", None)
        table.set("catalog", None)
        table.set("this", exp.to_identifier(view_of(name)))
        yield name


def _refuse(query: exp.Query) -> None:
    from sqlglot import exp

    for hint in list(query.find_all(exp.Hint)):
        hint.pop()
    harmful = (
        exp.QueryTransform, exp.Command, exp.Parameter, exp.Placeholder, exp.DDL, exp.Into, exp.Set,
        exp.Insert, exp.Update, exp.Delete, exp.Merge,
    )  # fmt: skip
    for node in query.walk():
        if isinstance(node, harmful) and not isinstance(node, exp.Query):
            raise ConfigError(f"{_kind(node)} is not possible in a query here")
        if isinstance(node, exp.Anonymous) and (name := node.name.lower()) in _REFUSED:
            raise ConfigError(f"the function {name} is not for queries here: it reaches beyond the data")


def _kind(tree: Any) -> str:
    return type(tree).__name__.upper()


def _plain(error: BaseException) -> str:
    """The first line, without the escapes that underline a word on a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()[0][:300] if str(error) else "too deep"
