"""What a run reads and does not build, shown to DuckDB: published tables, views made before, own past rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import duckdb
from dbt_common.exceptions import DbtRuntimeError

from asgard_assets.components.dbt.unfit import unfit
from asgard_assets.lake import Lake
from dbt.adapters.delta.engine import Told
from dbt.adapters.delta.types import ORIGINAL, quoted

VIEW = "_view.sql"
BUILDS = ("build", "run", "seed", "snapshot", "retry")
_NODES = ("model", "seed", "snapshot", "source")
_READ_THROUGH = ("view", "external", "table_function")
# Made anew from their query in each run; a materialization of the project's own may go on from what there was.
_REBUILT = ("seed", "ephemeral", "delta", *_READ_THROUGH)
# `{{ this }}`, and not its name alone, outside of `config(post_hook=…)`.
_CONFIG = re.compile(r"\{\{-?\s*config\(.*?\)\s*-?\}\}", re.DOTALL)
_SELF = re.compile(r"\{[{%][^{}]*?(\bthis\b(?!\s*\.)|get_relation\([^)]*\bthis\b)")
_WRITES = re.compile(r"\b(insert|update|delete|merge|truncate|alter|copy)\b", re.IGNORECASE)
Node = Mapping[str, Any]
Kind = Literal["table", "view"]
Shape = Kind | Literal[""]


class Shown:
    """The lake's relations in this run's database. `seen` holds the state that native tables replace."""

    def __init__(self, lake: Lake, database: str) -> None:
        self.lake, self.database = lake, database
        self.seen: dict[str, dict[str, int]] = {}
        self.columns: dict[str, dict[str, str]] = {}
        self.borrowed: set[str] = set()
        self.places: set[tuple[str, str]] = set()
        """Where a relation of the lake is shown."""
        self.written: list[Node] = []
        """Tables that statements beside the graph may write to; published where their rows changed."""
        self.rows_before: dict[str, str] = {}
        self.made: set[str] = set()
        self._looked: set[tuple[str, str]] = set()
        self.find: Callable[[Any, str, str], bool] | None = None
        """Shows what a recorded view reads and the graph does not know."""
        self._nodes: dict[tuple[str, ...], Node] = {}

    def for_run(
        self, cursor: Any, graph: Node, selected: list[str], command: str, full_refresh: bool, told: Told
    ) -> Iterator[dict[str, Any]]:
        """Show what the selected nodes and the hooks need; yield each relation that dbt has to know of before it starts.

        Raises where a selected node cannot work, or needs what was never built.
        """
        nodes = with_one_spelling({**graph["nodes"], **graph["sources"]})
        made = set(selected) if command in BUILDS else set()
        self._remember(nodes, made)
        for unique_id in sorted(made & set(nodes)):
            refuse(nodes[unique_id], full_refresh)
        known = relations(cursor, self.database)
        self._borrow(cursor, nodes)
        schemas = {
            self._name(n, "schema") for n in nodes.values() if n["resource_type"] in _NODES and self._ours(n)
        }
        for schema in sorted(schemas):
            cursor.execute(f"create schema if not exists {schema}")
        needed = self._needed(nodes, selected, made)
        if any(s.startswith("unit_test.") for s in selected):
            # A unit test reads the column types of the inputs that it replaces, nothing else.
            needed = {n: False for n, node in nodes.items() if self._table(node) and n not in made} | needed
        read = [n for n in told.read_by_hooks if n not in made and n in nodes and self._table(nodes[n])]
        needed = {n: False for n in read} | needed
        built = {address(nodes[m]) for m in made if m in nodes and nodes[m]["resource_type"] in _NODES}
        for unique_id in _parents_first(nodes, needed):
            if address(nodes[unique_id]) in known and not self._is_borrowed(nodes[unique_id]):
                continue
            # A source that is also a seed of this run is a table, as the last run left it in a lasting database.
            again = address(nodes[unique_id]) in built and not self._is_borrowed(nodes[unique_id])
            shown = self._show(cursor, nodes[unique_id], as_table=again)
            missing = not shown
            if unique_id in told.deferred:
                if shown:
                    yield self._relation(nodes[unique_id], shown)  # else dbt takes the deferred one
                missing = not self._show_deferred(cursor, nodes[unique_id], told) and missing
            if again and shown:
                yield self._relation(nodes[unique_id], shown)
            if missing and needed[unique_id] and not _may_come_later(nodes, unique_id, made):
                raise DbtRuntimeError(self._absent(nodes[unique_id]))
            if missing and not needed[unique_id]:
                self._declare(cursor, nodes[unique_id])
        for unique_id in sorted(made & set(nodes)):
            node = nodes[unique_id]
            if node["resource_type"] not in _NODES or not self._ours(node):
                continue
            kind, (schema, name) = _kind(node), address(node)
            if kind not in ("view", "ephemeral", "delta"):
                self.seen[unique_id] = self.lake.epochs(schema, name, [""])
            if _goes_on(node, full_refresh) and address(node) not in known:
                if shown := self._show(cursor, node, as_table=True):
                    yield self._relation(node, shown)  # a view where `dbt clone` made it
            elif kind == "delta" and self._show(cursor, node):
                yield self._relation(node, "view")
        for node in self._written_by_hooks(nodes, made, told):
            if address(node) not in known and self._make_table(cursor, node):
                yield self._relation(node, "table")

    def as_table(self, cursor: Any, schema: str, name: str) -> None:
        """Let a statement write to a table of the lake that the run does not build."""
        node = self._node(schema, name)
        if node["unique_id"] in self.made or not self._ours(node):
            return
        place = address(node)
        there = relations(cursor, self.database).get(place)
        if there is None or (there == "view" and place in self.places):
            self._make_table(cursor, node)

    def beside(self, cursor: Any, schema: str, name: str) -> bool:
        """Show a table or view of the lake that the run neither builds nor has shown yet."""
        node = self._node(schema, name)
        place = address(node)
        if (
            node["unique_id"] in self.made
            or place in self._looked
            or place in relations(cursor, self.database)
        ):
            return False
        self._looked.add(place)
        cursor.execute(f"create schema if not exists {self._name(node, 'schema')}")
        return bool(self._show(cursor, node))

    def _remember(self, nodes: Mapping[str, Node], made: set[str]) -> None:
        self.made = made
        self._nodes = {
            tuple(map(str.lower, address(node))): node
            # What makes a table goes before the source that it is declared as.
            for node in sorted(nodes.values(), key=lambda node: node["resource_type"] != "source")
            if node["resource_type"] in _NODES and self._ours(node)
        }

    def _node(self, schema: str, name: str) -> Node:
        return self._nodes.get((schema.lower(), name.lower())) or unnamed(schema, name)

    def _make_table(self, cursor: Any, node: Node) -> bool:
        """Show a table of the lake so that statements can write to it; False where it is a view, or is not there."""
        if node in self.written:
            return True
        rows = self._pinned(node)
        if rows is None:
            return False
        cursor.execute(f"create schema if not exists {self._name(node, 'schema')}")
        if address(node) in self.places:
            cursor.execute(f"drop view if exists {self._name(node)}")
        cursor.execute(f"create table {self._name(node)} as {rows}")
        self.places.add(address(node))
        self.rows_before[node["unique_id"]] = rows
        self.written.append(node)
        return True

    def _pinned(self, node: Node) -> str | None:
        """A query of the table as it is now, whatever is published later. What it replaces is noted in `seen`."""
        seen, table = self.lake.epochs(*address(node), [""]), self.lake.table(*address(node))
        if table is None:
            return None
        self.seen[node["unique_id"]] = seen
        found = self.lake.delta_scan(*address(node), f"version={table.version()}")
        return f"select {', '.join(as_it_was(table))} from {found}"

    def rebase(self, cursor: Any, node: Node) -> None:
        """Do again, on the table as it is published by now, what statements of this run did to its rows."""
        name, before, now = self._name(node), self.rows_before[node["unique_id"]], self._pinned(node)
        cursor.execute(f"create or replace temp table delta_added as (from {name}) except all ({before})")
        cursor.execute(f"create or replace temp table delta_removed as ({before}) except all (from {name})")
        cursor.execute(
            f"create or replace table {name} as (({now}) except all (from delta_removed)) union all by name "
            "(from delta_added)"
        )
        self.rows_before[node["unique_id"]] = now or before

    def _show_deferred(self, cursor: Any, node: Node, told: Told) -> Shape:
        schema, name = told.deferred[node["unique_id"]]
        there = {**node, "schema": schema, "alias": name}
        cursor.execute(f"create schema if not exists {self._name(there, 'schema')}")
        return self._show(cursor, there)

    def _written_by_hooks(self, nodes: Mapping[str, Node], made: set[str], told: Told) -> list[Node]:
        """Tables that a hook names and this run does not build: it may write its rows there, as an audit log does."""
        if not _WRITES.search(told.hooks):
            return []
        words = set(re.findall(r"\w+", told.hooks.lower()))
        return [
            node
            for unique_id, node in sorted(nodes.items())
            if node["resource_type"] in ("model", "seed", "snapshot")
            and unique_id not in made
            and self._ours(node)
            and _kind(node) not in ("delta", "ephemeral", *_READ_THROUGH)
            and any(set(re.findall(r"\w+", n.lower())) <= words for n in (address(node)[1], node["name"]))
        ]

    def everything(self, cursor: Any, manifest: Any) -> None:
        """Show all that was ever built; what was not, by its declared columns."""
        found = {**manifest.nodes, **manifest.sources}
        nodes = with_one_spelling({u: n.to_dict() for u, n in found.items() if n.resource_type in _NODES})
        known = relations(cursor, self.database)
        self._remember(nodes, set())
        self._borrow(cursor, nodes)
        for unique_id in _parents_first(nodes, nodes):
            node = nodes[unique_id]
            if not self._table(node) or (address(node) in known and not self._is_borrowed(node)):
                continue
            cursor.execute(f"create schema if not exists {self._name(node, 'schema')}")
            if not self._show(cursor, node):
                self._declare(cursor, node)

    def record_view(self, node: Node, sql: str) -> None:
        """Keep a view's SQL beside the tables, so that a later run can read through it."""
        with self.lake.whole(f"{self.lake.path(*address(node))}/{VIEW}") as file:
            file.write(json.dumps({"unique_id": node["unique_id"], "sql": sql}).encode())

    def _relation(self, node: Node, kind: str) -> dict[str, Any]:
        schema, name = address(node)
        return {"database": self.database, "schema": schema, "identifier": name, "type": kind}

    def _borrow(self, cursor: Any, nodes: Mapping[str, Node]) -> None:
        """Sources written for a warehouse name its databases: such a name is the lake's, unless it is attached."""
        attached = {
            name.lower()
            for (name,) in cursor.execute("select database_name from duckdb_databases()").fetchall()
        }
        for node in nodes.values():
            database = node.get("database") or self.database
            if node["resource_type"] == "source" and database.lower() not in attached:
                cursor.execute(f"attach ':memory:' as {quoted(database)}")
                attached.add(database.lower())
                self.borrowed.add(database.lower())

    def _is_borrowed(self, node: Node) -> bool:
        return node["resource_type"] == "source" and (node.get("database") or "").lower() in self.borrowed

    def _ours(self, node: Node) -> bool:
        ours = (node.get("database") or self.database).lower() == self.database.lower()
        return ours or self._is_borrowed(node)

    def _name(self, node: Node, upto: str = "table") -> str:
        """The relation in SQL, or its schema."""
        names = address(node) if upto == "table" else (node["schema"],)
        return ".".join(map(quoted, (node["database"], *names) if self._is_borrowed(node) else names))

    def _table(self, node: Node) -> bool:
        """Is it something that the lake could hold?"""
        if node["resource_type"] == "source":
            return self._ours(node) and not _elsewhere(node)
        kind = node.get("config", {}).get("materialized")
        return node["resource_type"] in _NODES and kind != "ephemeral" and self._ours(node)

    def _needed(self, nodes: Mapping[str, Node], selected: list[str], made: set[str]) -> dict[str, bool]:
        """Relations that the selected nodes read and this run does not build -> whether it must have them."""
        needed: dict[str, bool] = {}
        for start in selected:
            if start not in nodes:
                continue
            # A test on what does not exist yet fails by itself, and names what it misses.
            must = nodes[start]["resource_type"] != "test" or not made
            todo, seen = [start], {start}
            while todo:
                for parent in nodes[todo.pop()].get("depends_on", {}).get("nodes", []):
                    if parent in made or parent in seen or parent not in nodes:
                        continue
                    seen.add(parent)
                    if self._table(nodes[parent]):
                        needed[parent] = needed.get(parent, False) or must
                    if _kind(nodes[parent]) in ("ephemeral", *_READ_THROUGH):
                        todo.append(parent)
        return needed

    def _show(self, cursor: Any, node: Node, as_table: bool = False) -> Shape:
        """Show the relation as the lake has it, and say as what; "" where it has none."""
        schema, name = address(node)
        looks = [self._from_table, self._from_view]
        if _kind(node) in _READ_THROUGH:
            looks.reverse()
        for look in looks:
            if shown := look(cursor, node, schema, name, "table" if as_table else "view"):
                self.places.add((schema, name))
                if _kind(node) == "table_function":
                    return shown  # its columns depend on its arguments
                described = cursor.sql(f"select * from {self._name(node)} limit 0")
                types = map(str, described.types)
                self.columns[node["unique_id"]] = dict(zip(described.columns, types, strict=True))
                return shown
        return ""

    def _from_table(self, cursor: Any, node: Node, schema: str, name: str, kind: Kind) -> Shape:
        table = self.lake.table(schema, name)
        if table is None:
            return ""
        columns = ", ".join(as_it_was(table))
        cursor.execute(
            f"create or replace {kind} {self._name(node)} as "
            f"select {columns} from {self.lake.delta_scan(schema, name)}"
        )
        return kind

    def _from_view(self, cursor: Any, node: Node, schema: str, name: str, kind: Kind) -> Shape:
        from pyarrow import fs as pafs

        path = f"{self.lake.path(schema, name)}/{VIEW}"
        if self.lake.filesystem.get_file_info(path).type != pafs.FileType.File:
            return ""
        with self.lake.filesystem.open_input_stream(path) as stream:
            try:
                sql = json.loads(stream.read())["sql"]
            except ValueError:
                return ""  # cut short by a kill: the next run that builds the view writes it again
        self._looked.add((schema, name))
        while True:
            try:
                cursor.execute(sql)
                return "view"
            except duckdb.CatalogException as error:
                # A clone reads tables of another target, which this run knows nothing of.
                if self.find is None or not self.find(cursor, sql, str(error)):
                    raise

    def _declare(self, cursor: Any, node: Node) -> None:
        columns = [c for c in node.get("columns", {}).values() if c.get("data_type")]
        if columns:
            typed = ", ".join(f"null::{c['data_type']} as {quoted(c['name'])}" for c in columns)
            cursor.execute(f"create or replace view {self._name(node)} as select {typed} where false")

    def _absent(self, node: Node) -> str:
        schema, name = address(node)
        where = self.lake.path(schema, name)
        if node["resource_type"] == "source":
            return f"{schema}/{name} was never published at {where}: materialize it first"
        return (
            f"{schema}/{name} was never published at {where}: build {node['resource_type']} {node['name']} "
            f"first, or select it too (--select +{node['name']})"
        )


def refuse(node: Node, full_refresh: bool) -> None:
    """Raise where a selected node cannot give a complete, lasting table."""
    if reason := unfit(node):
        raise DbtRuntimeError(reason)
    if _kind(node) == "delta" and node["config"].get("partition_by") and _full(node, full_refresh):
        raise DbtRuntimeError(
            f"{node['name']} is built by days: --full-refresh would leave only this window. Give the whole "
            "range by min_date and max_date instead"
        )


def relations(cursor: Any, database: str) -> dict[tuple[str, str], Kind]:
    """(schema, name) of all tables and views of the run's own database, and which of the two they are."""
    found = cursor.execute(
        "select schema_name, table_name, 'table' from duckdb_tables() where database_name = ? union all "
        "select schema_name, view_name, 'view' from duckdb_views() where database_name = ? and not internal",
        [database, database],
    ).fetchall()
    return {(schema, name): kind for schema, name, kind in found}


def as_it_was(table: Any) -> list[str]:
    """The table's columns as SQL, each with the DuckDB type that it had before it was stored."""
    found = []
    for column in table.schema().fields:
        name, kind = quoted(column.name), (column.metadata or {}).get(ORIGINAL)
        found.append(f"cast({name} as {kind}) as {name}" if kind else name)
    return found


def with_one_spelling(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The nodes, each source spelled as what makes it: DuckDB does not tell RAW from raw, a lake does."""
    made = {
        tuple(map(str.lower, address(n))): address(n)
        for n in nodes.values()
        if n["resource_type"] in ("model", "seed", "snapshot")
    }
    spelled = dict(nodes)
    for unique_id, node in nodes.items():
        maker = node["resource_type"] == "source" and made.get(tuple(map(str.lower, address(node))))
        if maker:
            spelled[unique_id] = {**node, "schema": maker[0], "identifier": maker[1]}
    return spelled


def address(node: Node) -> tuple[str, str]:
    """(schema, name) of a model, seed, snapshot or source: where its table lies in the lake."""
    return node["schema"], node.get("alias") or node.get("identifier") or node["name"]


def unnamed(schema: str, name: str) -> Node:
    """A table that is no node of the project, as a node."""
    known = {"unique_id": f"beside.{schema}.{name}", "schema": schema, "name": name, "alias": name}
    return {**known, "resource_type": "operation", "config": {"materialized": "table"}}


def _kind(node: Node) -> str | None:
    return node.get("config", {}).get("materialized")


def _full(node: Node, full_refresh: bool) -> bool:
    own = node["config"].get("full_refresh")
    return full_refresh if own is None else own


def _goes_on(node: Node, full_refresh: bool) -> bool:
    """Does it build on its own published rows? A snapshot does in a full refresh too, as everywhere in dbt."""
    if _kind(node) == "incremental":
        return not _full(node, full_refresh)
    if _kind(node) == "table":
        before = [hook["sql"] for hook in node["config"].get("pre-hook", [])]
        return any(map(_SELF.search, [_CONFIG.sub("", node.get("raw_code") or ""), *before]))
    return _kind(node) not in _REBUILT


def _elsewhere(source: Node) -> bool:
    """Does dbt-duckdb itself know where the source's rows are (a file, a plugin)?"""
    metas = [source.get(key) or {} for key in ("meta", "source_meta")]
    metas += [(source.get("config") or {}).get("meta") or {}, source.get("config") or {}]
    return (
        bool(source.get("external"))
        and bool((source["external"] or {}).get("location"))
        or any(key in meta for meta in metas for key in ("external_location", "plugin"))
    )


def _may_come_later(nodes: Mapping[str, Node], unique_id: str, made: set[str]) -> bool:
    """A source may be a seed of this run, or be made by the project's own on-run-start."""
    node = nodes[unique_id]
    if node["resource_type"] != "source":
        return False
    if any(address(nodes[m]) == address(node) for m in made if m in nodes and "schema" in nodes[m]):
        return True
    return any(
        n["resource_type"] == "operation"
        and n["package_name"] != "dbt_delta"
        and "on-run-start" in n["tags"]
        and "trino_" not in n["raw_code"]  # a hook for another engine makes no table here
        for n in nodes.values()
    )


def _parents_first(nodes: Mapping[str, Node], wanted: Iterable[str]) -> list[str]:
    order: dict[str, None] = {}
    chosen, done = set(wanted), set()

    def visit(unique_id: str) -> None:
        if unique_id in done or unique_id not in nodes:
            return
        done.add(unique_id)
        for parent in nodes[unique_id].get("depends_on", {}).get("nodes", []):
            visit(parent)
        if unique_id in chosen:
            order[unique_id] = None

    for unique_id in sorted(chosen):
        visit(unique_id)
    return list(order)
