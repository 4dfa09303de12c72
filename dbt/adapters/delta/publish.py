"""After the tests: commit each table whose blocking tests passed, discard the others and what stands on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from dbt_common.exceptions import DbtRuntimeError

from asgard_assets.errors import AsgardError, UnknownCommitError
from asgard_assets.lake import Lake
from asgard_assets.lake.reads import Edge, Reads, Stand
from dbt.adapters.delta.show import BUILDS, Shown, _parents_first, address
from dbt.adapters.delta.stage import Staged, _select, _types, arrow_schema, columns_of, copy
from dbt.adapters.delta.types import quoted

REPORT, READS = "delta_publish.json", "asgard_reads.json"
_BUILT = ("model", "seed", "snapshot")
_PASSED = ("pass", "warn", "success")
# A microbatch model of which some batches failed keeps the others, as in any warehouse.
_DONE = ("success", "partial success")


def publish(
    cursor: Any,
    shown: Shown,
    staged: Mapping[str, Staged],
    graph: Any,
    results: Any,
    command: str,
    invocation_id: str,
    target: Path,
) -> dict[str, Any]:
    """Publish what passed, parents first. Returns `messages` and `errors`; the report lies in `target`."""
    if command not in BUILDS:
        return {"messages": [], "errors": []}
    status = {result.node.unique_id: str(result.status) for result in results}
    nodes = graph["nodes"]
    report: dict[str, Any] = {"invocation_id": invocation_id, "published": {}, "unpublished": {}}
    messages, errors, refused = list[str](), list[str](), set[str]()
    inputs = Inputs.read(shown.lake, target / READS)
    columns = dict(shown.columns)
    for unique_id in _parents_first(nodes, [n for n in nodes if nodes[n]["resource_type"] in _BUILT]):
        node = nodes[unique_id]
        kind = node["config"]["materialized"]
        upstream = [p for p in node.get("depends_on", {}).get("nodes", []) if p in refused]
        if kind == "ephemeral" or unique_id not in status:
            # Through views and ephemeral models, "built on what stays unpublished" is passed on.
            if upstream:
                refused.add(unique_id)
            continue
        if (node.get("database") or shown.database).lower() != shown.database.lower():
            if status[unique_id] in _DONE:
                columns.setdefault(unique_id, {})  # built, in a database of its own
            continue
        ready = staged.get(unique_id)
        table = "/".join(address(node))
        failed, missing = _blocking(unique_id, nodes, status)
        reason = _reason(status[unique_id], failed, missing if kind == "delta" else [], upstream)
        if not reason:
            try:
                # What keeps rows of failed batches was not built from what there is now.
                known = inputs if status[unique_id] == "success" else None
                done, types = _commit(cursor, shown, node, ready, invocation_id, known)
            except (AsgardError, DbtRuntimeError, duckdb.Error) as error:
                reason = _said(error, table)
                errors.append(reason)
                if isinstance(error, UnknownCommitError):
                    ready = None  # its files may be the table's by now: they stay
            else:
                columns[unique_id] = types or {}
                messages += _news(table, done, types)
                if done:
                    report["published"][unique_id] = done
                continue
        refused.add(unique_id)
        if ready or kind not in ("view", "table_function", "delta"):
            tests = [*failed, *(missing if kind == "delta" else ())]
            report["unpublished"][unique_id] = {"table": table, "reason": reason, "tests": tests}
            messages.append(f"NOT published {table}: {reason}")
        if ready:
            shown.lake.discard(ready.staging)
    messages += _failures(cursor, shown, nodes, status, invocation_id)
    for unique_id in shown.hooked:
        if _changed(cursor, shown, nodes[unique_id]):
            try:
                done, types = _commit(cursor, shown, nodes[unique_id], None, invocation_id)
            except (AsgardError, DbtRuntimeError, duckdb.Error) as error:
                errors.append(_said(error, "/".join(address(nodes[unique_id]))))
            else:
                messages += _news("/".join(address(nodes[unique_id])), done, types)
    target.mkdir(parents=True, exist_ok=True)
    (target / REPORT).write_text(json.dumps(report | {"columns": columns}, indent=2))
    return {"messages": messages, "errors": errors}


def _reason(status: str, failed: Sequence[str], missing: Sequence[str], upstream: Sequence[str]) -> str:
    """Why a model must not be published; empty where nothing speaks against it."""
    if status not in _DONE:
        return "the model was skipped" if status == "skipped" else "the model failed"
    if failed:
        return "a blocking test failed: " + ", ".join(failed)
    if missing:
        return "blocking tests did not run (use `dbt build`): " + ", ".join(missing)
    if upstream:
        return "built on what was not published: " + ", ".join(p.split(".")[-1] for p in upstream)
    return ""


def _news(table: str, done: Mapping[str, Any] | None, types: Mapping[str, str] | None) -> list[str]:
    """What to say of a model that was committed, or that made nothing."""
    news = (
        []
        if types is not None
        else [f"nothing published to {table}: it made no relation, or a hook dropped it"]
    )
    if done:
        news.append(f"published {table} version {done['version']}: {sum(done['rows'].values())} rows")
    return news


def _said(error: Exception, table: str) -> str:
    """What an error says, with the table that it is about."""
    said = getattr(error, "message", None) or getattr(error, "msg", None) or str(error)
    return said if table in said else f"{table}: {said}"


def _commit(
    cursor: Any,
    shown: Shown,
    node: Mapping[str, Any],
    ready: Staged | None,
    invocation_id: str,
    inputs: Inputs | None = None,
) -> tuple[dict[str, Any] | None, dict[str, str] | None]:
    """Publish one table, or keep one view's SQL. Returns the figures (a table's) and the columns.

    No columns: the materialization made nothing, or a hook dropped it.
    """
    lake: Lake = shown.lake
    if ready is None:
        schema, name = address(node)
        found = cursor.execute(
            "select sql from duckdb_views() where schema_name = ? and view_name = ? and database_name = ?",
            [schema, name, shown.database],
        ).fetchone()
        relation = f"{quoted(schema)}.{quoted(name)}"
        if found:
            shown.record_view(node, found[0].replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
            described = cursor.sql(f"select * from {relation} limit 0")
            return None, dict(zip(described.columns, map(str, described.types), strict=True))
        if node["config"]["materialized"] == "table_function":
            [(parameters, body)] = cursor.execute(
                "select parameters, macro_definition from duckdb_functions() "
                "where schema_name = ? and function_name = ? and database_name = ?",
                [schema, name, shown.database],
            ).fetchall()
            shown.record_view(
                node, f"create or replace macro {relation}({', '.join(parameters)}) as table {body}"
            )
            return None, {}
        if not cursor.execute(
            "select 1 from duckdb_tables() where lower(schema_name) = lower(?) "
            "and lower(table_name) = lower(?) and database_name = ?",
            [schema, name, shown.database],
        ).fetchall():
            return None, None
        columns = columns_of(cursor, f"{schema}/{name}", f"select * from {relation}")
        query = _select(columns, columns, relation)
        seen = shown.seen.get(node["unique_id"])
        staging = lake.stage(schema, name, arrow_schema(cursor, columns, query), (), seen, whole=True)
        ready = Staged(staging, True, _types(columns))
        try:
            copy(cursor, staging, query, ordered=True)
        except BaseException:
            lake.discard(staging)
            raise
    said = (node["config"].get("meta") or {}).get("dagster") or {}
    done = lake.publish(
        ready.staging,
        metadata={"dbt_invocation_id": invocation_id},
        replace_schema=ready.replace_schema,
        reads=inputs.of(ready.staging.table, ready.made) if inputs else None,
        volatile=said.get("volatile", ()),
    )
    if inputs:
        inputs.follow(done.table, done.version)
    figures = {
        "table": done.table,
        "version": done.version,
        "rows": dict(done.rows),
        "files": done.files,
        "bytes": done.bytes,
    }
    return figures, ready.columns


def _changed(cursor: Any, shown: Shown, node: Mapping[str, Any]) -> bool:
    """Did a hook change the rows of a table that no model of this run made?"""
    schema, name = address(node)
    now, before = f"{quoted(schema)}.{quoted(name)}", shown.lake.delta_scan(schema, name)
    differ = f"(from {now} except all from {before}) union all (from {before} except all from {now})"
    try:
        return bool(cursor.execute(f"select 1 from ({differ}) limit 1").fetchall())
    except duckdb.Error:
        return True  # other columns, or a type that cannot be compared


@dataclass
class Inputs:
    """What the models of a run were built from: written down before dbt began, and followed as their parents are
    published."""

    lake: Lake
    stands: dict[str, Stand]
    models: Mapping[str, Any]

    @classmethod
    def read(cls, lake: Lake, path: Path) -> Inputs:
        """Nothing is known of a run that nobody prepared, such as `dbt build` in a terminal."""
        told = json.loads(path.read_bytes()) if path.is_file() else {"stands": {}, "models": {}}
        stands = {table: Stand(each["id"], each["rows"]) for table, each in told["stands"].items()}
        return cls(lake, stands, told["models"])

    def of(self, table: str, made: Sequence[str] | None = None) -> Reads | None:
        """What a model was built from, for the days whose rows are new."""
        model = self.models.get(table)
        return model and Reads(
            tuple(Edge(**edge) for edge in model["edges"]),
            self.stands,
            code=model["code"],
            only=None if made is None else frozenset(made),
        )

    def follow(self, table: str, version: int) -> None:
        """A model further down read the table as this commit made it."""
        if table in self.stands:
            stage, _, name = table.partition("/")
            snapshot = self.lake.snapshot(stage, name)
            self.stands[table] = Stand.of(snapshot.table_id, snapshot.log.numbers(version))


def _failures(
    cursor: Any, shown: Shown, nodes: Any, status: Mapping[str, str], invocation_id: str
) -> list[str]:
    """Publish the rows that a test with `store_failures` found; none are left where it passes again."""
    messages = []
    for test_id, test in nodes.items():
        found = status.get(test_id) if test["resource_type"] == "test" else None
        if not found or found not in ("fail", "warn", "pass") or not test["config"].get("store_failures"):
            continue
        if found == "pass" and shown.lake.table(*address(test)) is None:
            continue
        try:
            _commit(cursor, shown, test, None, invocation_id)
        except (AsgardError, DbtRuntimeError, duckdb.Error) as error:
            messages.append(f"NOT published {'/'.join(address(test))}: {error}")
        else:
            messages.append(f"published {'/'.join(address(test))}: what {test['name']} found")
    return messages


def _waits_for_others(test: Mapping[str, Any], unique_id: str, status: Mapping[str, str]) -> bool:
    """Was the test skipped because another table that it reads was not built? That says nothing of this one."""
    others = [p for p in test["depends_on"]["nodes"] if p != unique_id and p in status]
    return status[test["unique_id"]] == "skipped" and any(status[p] not in _DONE for p in others)


def _blocking(unique_id: str, nodes: Any, status: dict[str, str]) -> tuple[list[str], list[str]]:
    """Names of the model's blocking tests that failed, and of those that nobody ran."""
    failed, missing = [], []
    for test_id, test in nodes.items():
        if test["resource_type"] != "test" or unique_id not in test["depends_on"]["nodes"]:
            continue
        blocks = str(test["config"].get("severity", "error")).lower() == "error"
        if test_id not in status:
            if blocks:
                missing.append(test["name"])
        elif blocks and status[test_id] not in _PASSED and not _waits_for_others(test, unique_id, status):
            failed.append(test["name"])
    return sorted(failed), sorted(missing)
