"""The `delta` materialization's Python half: a dbt-duckdb plugin that stages, and publishes what passed.

dbt imports it (`module` in profiles.yml), from wherever it is started; so it must lie in the installed package.
It imports dbt, and therefore the code location never imports it. It imports no Dagster, so that a plain
`dbt build` writes the lake exactly as Dagster does.

`begin`    refuses what cannot work and shows each Delta input that this run does not build as a view.
`stage`    writes a model's rows into the table's staging folder and shows published + staged rows as a view.
`publish`  commits each model whose blocking tests passed; discards the others and those built on them.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.flags import get_flags
from dbt_common.exceptions import DbtRuntimeError
from deltalake import Schema

from asgard_assets.errors import AsgardError
from asgard_assets.lake import DS, Lake, Staging, days_between
from asgard_assets.lake_reader import load_duckdb_extensions
from asgard_assets.settings import Settings

REPORT = "asgard_publish.json"
_KEPT = ("delta", "ephemeral", "view", "seed", "test", "unit")
_BUILDS = ("run", "build")
_PASSED = ("pass", "warn", "success")

# DuckDB types that Delta cannot hold -> what is stored. A naive timestamp is taken for UTC: Delta's own
# naive type would raise the table's protocol beyond what its readers here understand.
_COERCE = {
    "hugeint": "BIGINT",
    "uhugeint": "BIGINT",
    "utinyint": "SMALLINT",
    "usmallint": "INTEGER",
    "uinteger": "BIGINT",
    "ubigint": "BIGINT",
    "uuid": "VARCHAR",
    "json": "VARCHAR",
    "enum": "VARCHAR",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ns": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ms": "TIMESTAMP WITH TIME ZONE",
    "timestamp_s": "TIMESTAMP WITH TIME ZONE",
}
_REFUSE = ("interval", "bit", "union", "null", '"null"', "time", "time with time zone", "time_ns", "bignum")


class Plugin(BasePlugin):
    """One per dbt process, shared by its threads."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        settings = Settings()
        root = plugin_config.get("lake") or settings.lake_root
        self.lake = Lake(root, settings.s3_endpoint, settings.s3_region)
        self._cursors: dict[int, Any] = {}
        self._staged: dict[str, Staging] = {}
        self._lock = threading.Lock()

    def configure_connection(self, conn: Any) -> None:
        load_duckdb_extensions(conn, self.lake)

    def configure_cursor(self, cursor: Any) -> None:
        self._cursors[threading.get_ident()] = cursor

    def store(self, target_config: Any) -> None:
        """dbt-duckdb's only door from a macro into a plugin; `action` says which way to go."""
        asked = target_config.config
        try:
            if asked["action"] == "begin":
                self._begin(asked)
            elif asked["action"] == "stage":
                self._stage(asked, target_config.relation)
            else:
                self._publish(asked)
        except AsgardError as error:
            raise DbtRuntimeError(error.message) from error

    @property
    def _cursor(self) -> Any:
        return self._cursors[threading.get_ident()]

    # Before the models --------------------------------------------------------------------------------

    def _begin(self, asked: dict[str, Any]) -> None:
        graph, selected = asked["graph"], list(asked["selected"])
        nodes = {**graph["nodes"], **graph["sources"]}
        builds = asked["command"] in _BUILDS
        for unique_id in selected if builds else ():
            _refuse(nodes.get(unique_id, {}), asked)
        strict = _inputs(nodes, [s for s in selected if not s.startswith("unit_test.")], builds)
        lenient = set()
        if any(s.startswith("unit_test.") for s in selected):
            # A unit test reads the column types of the inputs that it replaces, nothing else.
            lenient = {n for n, node in nodes.items() if _is_table(node)} - strict
        schemas = {node.get("schema") for node in nodes.values() if node.get("resource_type") != "test"}
        for schema in sorted(s for s in schemas if s):
            self._cursor.execute(f'create schema if not exists "{schema}"')
        for unique_id in sorted(strict | lenient):
            self._show(nodes[unique_id], required=unique_id in strict)

    def _show(self, node: dict[str, Any], required: bool) -> None:
        schema, name = _address(node)
        if self.lake.table(schema, name) is not None:
            query = f"select * from delta_scan('{self.lake.path(schema, name)}')"
        elif required:
            raise DbtRuntimeError(
                f"{schema}/{name} was never published at {self.lake.path(schema, name)}: materialize it first"
            )
        else:
            typed = [f'null::{c["data_type"]} as "{c["name"]}"' for c in _columns(node)]
            if not typed:
                return
            query = f"select {', '.join(typed)} where false"
        self._cursor.execute(f'create or replace view "{schema}"."{name}" as {query}')

    # One model ----------------------------------------------------------------------------------------

    def _stage(self, asked: dict[str, Any], relation: Any) -> None:
        cursor, schema, name = self._cursor, relation.schema, relation.identifier
        days: list[str] = []
        if asked["partition_by"]:
            days = days_between(*asked["window"])
            if not days:
                raise DbtRuntimeError(f"{schema}/{name}: the window {asked['window']} holds no day")
        found = cursor.sql(f"select * from {asked['rows']}")
        stored = {
            column: _stored(f"{schema}/{name}", column, kind)
            for column, kind in zip(found.columns, found.types, strict=True)
        }
        if bool(days) != (DS in stored):
            raise DbtRuntimeError(
                f"{schema}/{name}: a model with a column `{DS}` needs config(partition_by='{DS}'), and the reverse"
            )
        casts = ", ".join(f"cast({_quoted(c)} as {kind}) as {_quoted(c)}" for c, kind in stored.items())
        query = f"select {casts} from {asked['rows']}"
        # By way of Delta's own types: DuckDB and Delta name the fields inside lists and maps differently.
        delta = Schema.from_arrow(cursor.sql(f"{query} limit 0").to_arrow_table().schema)
        staging = self.lake.stage(schema, name, pa.schema(delta.to_arrow()), days)
        with self._lock:
            self._staged[asked["unique_id"]] = staging
        target = staging.path if days else f"{staging.path}/part-0.parquet"
        layout = (
            f", partition_by ({DS}), filename_pattern 'part-{{uuid}}', overwrite_or_ignore" if days else ""
        )
        cursor.execute(f"copy ({query}) to '{target}' (format parquet, compression zstd{layout})")
        files = [uri for uris in self.lake.staged_files(staging).values() for uri in uris]

        parts = [f"select {', '.join(f'null::{k} as {_quoted(c)}' for c, k in stored.items())} where false"]
        if days and self.lake.table(schema, name) is not None:
            outside = f"{DS} < '{days[0]}' or {DS} > '{days[-1]}'"
            parts.append(f"select * from delta_scan('{self.lake.path(schema, name)}') where {outside}")
        if files:
            listed = ", ".join(f"'{uri}'" for uri in files)
            hive = f", hive_partitioning = true, hive_types = {{'{DS}': varchar}}" if days else ""
            parts.append(f"select * from read_parquet([{listed}]{hive})")
        names = ", ".join(map(_quoted, stored))
        united = " union all by name ".join(parts)
        cursor.execute(f'create or replace view "{schema}"."{name}" as select {names} from ({united})')

    # After the tests ----------------------------------------------------------------------------------

    def _publish(self, asked: dict[str, Any]) -> None:
        status = {result.node.unique_id: str(result.status) for result in asked["results"]}
        nodes = asked["graph"]["nodes"]
        report: dict[str, Any] = {"invocation_id": asked["invocation_id"], "published": {}, "unpublished": {}}
        refused: set[str] = set()
        for unique_id in _in_order(nodes):
            node = nodes[unique_id]
            upstream = [p for p in node["depends_on"]["nodes"] if p in refused]
            staging = self._staged.get(unique_id)
            if staging is None:
                # Through views and ephemeral models, "built on what stays unpublished" is passed on.
                if upstream or (node["config"]["materialized"] == "delta" and unique_id in status):
                    refused.add(unique_id)
                continue
            failed, missing = _blocking(unique_id, nodes, status)
            reason = ""
            if status.get(unique_id) != "success":
                reason = "the model failed"
            elif failed:
                reason = "a blocking test failed: " + ", ".join(failed)
            elif missing:
                reason = "blocking tests did not run (use `dbt build`): " + ", ".join(missing)
            elif upstream:
                reason = "built on what was not published: " + ", ".join(p.split(".")[-1] for p in upstream)
            if not reason:
                try:
                    done = self.lake.publish(staging, metadata={"dbt_invocation_id": asked["invocation_id"]})
                except AsgardError as error:
                    reason = error.message
                    asked["errors"].append(reason)
                else:
                    report["published"][unique_id] = {
                        "table": done.table,
                        "version": done.version,
                        "rows": dict(done.rows),
                        "files": done.files,
                        "bytes": done.bytes,
                    }
                    total = sum(done.rows.values())
                    asked["messages"].append(f"published {done.table} version {done.version}: {total} rows")
                    continue
            refused.add(unique_id)
            report["unpublished"][unique_id] = {
                "table": staging.table,
                "reason": reason,
                "tests": [*failed, *missing],
            }
            asked["messages"].append(f"NOT published {staging.table}: {reason}")
            self.lake.discard(staging)
        self._staged.clear()
        target = Path(get_flags().TARGET_PATH or "target")
        target.mkdir(parents=True, exist_ok=True)
        (target / REPORT).write_text(json.dumps(report, indent=2))


def _refuse(node: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise where a selected node cannot give a complete, lasting table."""
    kind = node.get("config", {}).get("materialized")
    if node.get("resource_type") in ("model", "snapshot") and kind not in _KEPT:
        raise DbtRuntimeError(
            f"{node['name']} is materialized as {kind}: it would vanish with the in-memory database. Use delta "
            "(for incremental: delta with partition_by='ds'), view or ephemeral"
        )
    if kind == "delta" and node["config"].get("partition_by"):
        if node["config"]["partition_by"] not in (DS, [DS]):
            raise DbtRuntimeError(f"{node['name']}: delta tables are partitioned by `{DS}` or not at all")
        if asked["full_refresh"]:
            raise DbtRuntimeError(
                f"{node['name']} is built by days: --full-refresh would leave only this window. Give the whole "
                "range by min_date and max_date instead"
            )


def _is_table(node: dict[str, Any]) -> bool:
    return node["resource_type"] == "source" or node.get("config", {}).get("materialized") == "delta"


def _inputs(nodes: dict[str, Any], selected: list[str], builds: bool) -> set[str]:
    """Delta tables that the selected nodes read and that this run does not build."""
    made = set(selected) if builds else set()
    found: set[str] = set()
    todo, seen = list(selected), set(selected)
    while todo:
        for parent in nodes.get(todo.pop(), {}).get("depends_on", {}).get("nodes", []):
            if parent in made or parent in seen:
                continue
            seen.add(parent)
            node = nodes[parent]
            if _is_table(node):
                found.add(parent)
            elif node.get("config", {}).get("materialized") == "ephemeral":
                todo.append(parent)
            elif node["resource_type"] in ("model", "seed", "snapshot"):
                raise DbtRuntimeError(
                    f"{node['name']} is a {node['config']['materialized']} and lives as long as one dbt run: "
                    f"select it too (--select +{node['name']})"
                )
    return found


def _blocking(unique_id: str, nodes: dict[str, Any], status: dict[str, str]) -> tuple[list[str], list[str]]:
    """Names of the model's blocking tests that failed, and of those that nobody ran."""
    failed, missing = [], []
    for test_id, test in nodes.items():
        if test["resource_type"] != "test" or unique_id not in test["depends_on"]["nodes"]:
            continue
        blocks = str(test["config"].get("severity", "error")).lower() == "error"
        if test_id not in status:
            if blocks:
                missing.append(test["name"])
        elif status[test_id] not in _PASSED:
            failed.append(test["name"])
    return sorted(failed), sorted(missing)


def _in_order(nodes: dict[str, Any]) -> list[str]:
    """Models, parents first."""
    order: dict[str, None] = {}

    def visit(unique_id: str) -> None:
        node = nodes.get(unique_id)
        if node is None or unique_id in order or node["resource_type"] not in ("model", "snapshot"):
            return
        for parent in node["depends_on"]["nodes"]:
            visit(parent)
        order[unique_id] = None

    for unique_id in nodes:
        visit(unique_id)
    return list(order)


def _address(node: dict[str, Any]) -> tuple[str, str]:
    return node["schema"], node.get("alias") or node.get("identifier") or node["name"]


def _columns(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [c for c in node.get("columns", {}).values() if c.get("data_type")]


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _stored(table: str, column: str, kind: Any) -> str:
    """SQL type under which a DuckDB column is stored in Delta. `ds` is always text."""
    if column == DS and str(kind) in ("DATE", "VARCHAR"):
        return "VARCHAR"
    name = kind.id.lower()
    if name in _REFUSE:
        raise DbtRuntimeError(
            f"{table}: column {column} has type {kind}, which a Delta table cannot hold; cast it in the model"
        )
    if name in _COERCE:
        return _COERCE[name]
    if name in ("list", "array"):
        return _stored(table, column, kind.children[0][1]) + "[]"
    if name == "map":
        return f"MAP({', '.join(_stored(table, column, child) for _, child in kind.children)})"
    if name == "struct":
        inside = (f"{_quoted(field)} {_stored(table, column, child)}" for field, child in kind.children)
        return f"STRUCT({', '.join(inside)})"
    return str(kind)
