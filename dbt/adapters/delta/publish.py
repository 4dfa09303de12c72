"""After the tests: commit each table whose blocking tests passed, discard the others and what stands on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from asgard_assets.errors import FencedError, UnknownCommitError
from asgard_assets.lake import Lake
from asgard_assets.lake.reads import Edge, Reads, Stand
from dbt.adapters.delta.beside import Beside
from dbt.adapters.delta.engine import Ended
from dbt.adapters.delta.failing import keep_found, rows_found
from dbt.adapters.delta.show import BUILDS, Node, Shown, _parents_first, address
from dbt.adapters.delta.stage import Staged, _select, _types, arrow_schema, columns_of, copy
from dbt.adapters.delta.types import quoted

REPORT, READS = "delta_publish.json", "asgard_reads.json"
_BUILT = ("model", "seed", "snapshot")
_WRITING = (*BUILDS, "test", "run-operation")
_TRIES = 5
_PASSED = ("pass", "warn", "success")
# A microbatch model of which some batches failed keeps the others, as in any warehouse.
_DONE = ("success", "partial success")


def publish(
    cursor: Any, shown: Shown, beside: Beside, staged: Mapping[str, Staged], ended: Ended
) -> dict[str, Any]:
    """Publish what passed, parents first. Returns `messages` and `errors`; the report lies in `target`."""
    nodes, target = ended.graph["nodes"], ended.target
    status = {result.node.unique_id: str(result.status) for result in ended.results}
    run = Publishing(cursor, shown, staged, ended.invocation_id, dict(shown.columns))
    found = rows_found(cursor, ended.results)
    if ended.command in (*BUILDS, "clone"):
        run.models(nodes, status, Inputs.read(shown.lake, target / READS))
    run.messages += keep_found(shown.lake, nodes, status, run.commit)
    if ended.command in (*_WRITING, "clone"):
        run.beside(beside, {**nodes, **ended.graph["sources"]})
    report = {
        "invocation_id": ended.invocation_id,
        "published": run.published,
        "unpublished": run.unpublished,
    }
    target.mkdir(parents=True, exist_ok=True)
    (target / REPORT).write_text(json.dumps(report | {"columns": run.columns, "found": found}, indent=2))
    return {"messages": run.messages, "errors": run.errors}


@dataclass
class Publishing:
    """One command's commits, and what is to be said of them."""

    cursor: Any
    shown: Shown
    staged: Mapping[str, Staged]
    invocation_id: str
    columns: dict[str, dict[str, str]]
    published: dict[str, Any] = field(default_factory=dict[str, Any])
    unpublished: dict[str, Any] = field(default_factory=dict[str, Any])
    messages: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])

    def commit(self, node: Node, ready: Staged | None = None, inputs: Inputs | None = None) -> Any:
        return _commit(self.cursor, self.shown, node, ready, self.invocation_id, inputs)

    def models(self, nodes: Mapping[str, Node], status: Mapping[str, str], inputs: Inputs) -> None:
        """Commit each model, seed and snapshot whose blocking tests passed; discard the others."""
        refused = set[str]()
        blocking = Blocking.of(nodes, status)
        for unique_id in _parents_first(nodes, [n for n in nodes if nodes[n]["resource_type"] in _BUILT]):
            node = nodes[unique_id]
            kind = node["config"]["materialized"]
            upstream = [p for p in node.get("depends_on", {}).get("nodes", []) if p in refused]
            if kind == "ephemeral" or unique_id not in status:
                # Through views and ephemeral models, "built on what stays unpublished" is passed on.
                if upstream:
                    refused.add(unique_id)
                continue
            if (node.get("database") or self.shown.database).lower() != self.shown.database.lower():
                if status[unique_id] in _DONE:
                    self.columns.setdefault(unique_id, {})  # built, in a database of its own
                continue
            failed = blocking.failed.get(unique_id, [])
            missing = blocking.missing.get(unique_id, []) if kind == "delta" else []
            ready = self.staged.get(unique_id)
            reason = _reason(status[unique_id], failed, missing, upstream)
            # What keeps rows of failed batches was not built from what there is now.
            known = inputs if status[unique_id] == "success" else None
            if reason and ready:
                self.shown.lake.discard(ready.staging)
            if reason or (reason := self._model(unique_id, node, ready, known)):
                refused.add(unique_id)
                if ready or kind not in ("view", "table_function", "delta"):
                    told = {"table": _table(node), "reason": reason, "tests": [*failed, *missing]}
                    self.unpublished[unique_id] = told
                    self.messages.append(f"NOT published {_table(node)}: {reason}")

    def _model(self, unique_id: str, node: Node, ready: Staged | None, inputs: Inputs | None) -> str:
        """Commit one model. Returns why that could not be done."""
        outcome = self._tried(node, ready, inputs)
        if isinstance(outcome, Exception):
            self.errors.append(_said(outcome, _table(node)))
            if ready and not isinstance(
                outcome, UnknownCommitError
            ):  # else its files may be the table's by now
                self.shown.lake.discard(ready.staging)
            return self.errors[-1]
        done, types = outcome
        self.columns[unique_id] = types or {}
        if done:
            self.published[unique_id] = done
        return ""

    def beside(self, beside: Beside, nodes: Mapping[str, Node]) -> None:
        """Commit what hooks and operations wrote: into tables of the project, and into their own."""
        for node in self.shown.written:
            if changed(self.cursor, node, self.shown.rows_before[node["unique_id"]]):
                outcome = self._tried(node)
                for _ in range(_TRIES):
                    if isinstance(outcome, FencedError):  # another run wrote there too, as in an audit log
                        self.shown.rebase(self.cursor, node)
                        outcome = self._tried(node)
                self.errors += [_said(outcome, _table(node))] if isinstance(outcome, Exception) else []
        for node in beside.made(self.cursor, nodes):
            table = self.shown.lake.table(*address(node))
            before = f"from {self.shown.lake.delta_scan(*address(node))}"
            if table is None or changed(self.cursor, node, before):
                outcome = self._tried(node)
                if isinstance(outcome, Exception):
                    self.messages.append(f"NOT published {_said(outcome, _table(node))}")

    def _tried(self, node: Node, ready: Staged | None = None, inputs: Inputs | None = None) -> Any:
        """What a commit gives, or its error: whatever a value of one table brings up, the others are published."""
        try:
            done, types = self.commit(node, ready, inputs)
        except Exception as error:  # noqa: BLE001  (DuckDB, Arrow and delta-rs raise many kinds for a value)
            return error
        self.messages += _news(_table(node), done, types)
        return done, types


def _table(node: Node) -> str:
    return "/".join(address(node))


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
            if (
                shown.lake.delta_scan(schema, name) not in found[0]
            ):  # else it is the table, shown: `dbt clone` left it
                sql = found[0].replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
                shown.record_view(node, sql)
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
        seen = shown.seen.get(node.get("unique_id", ""))
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


def changed(cursor: Any, node: Node, before: str) -> bool:
    """Are the rows of a table others than before?"""
    now = f"from {'.'.join(map(quoted, address(node)))}"
    try:
        found = cursor.execute(
            f"select 1 from (({now}) except all ({before}) union all (({before}) except all ({now}))) limit 1"
        )
        return bool(found.fetchall())
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
            tuple(map(_edge, model["edges"])),
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


def _edge(told: Mapping[str, Any]) -> Edge:
    """An edge as it was before it was JSON."""
    slices = told.get("slices")
    return Edge(**{**told, "slices": None if slices is None else tuple(slices)})


@dataclass(frozen=True)
class Blocking:
    """By model: names of its blocking tests that failed, and of those that nobody ran."""

    failed: Mapping[str, list[str]]
    missing: Mapping[str, list[str]]

    @classmethod
    def of(cls, nodes: Mapping[str, Node], status: Mapping[str, str]) -> Blocking:
        failed, missing = dict[str, list[str]](), dict[str, list[str]]()
        for test_id, test in sorted(nodes.items(), key=lambda each: each[1]["name"]):
            blocks = str(test["config"].get("severity") or "error").lower() == "error"
            if test["resource_type"] != "test" or not blocks or status.get(test_id) in _PASSED:
                continue
            for model in dict.fromkeys(test["depends_on"]["nodes"]):
                if test_id not in status:
                    missing.setdefault(model, []).append(test["name"])
                elif not _waits_for_others(test, model, status):
                    failed.setdefault(model, []).append(test["name"])
        return cls(failed, missing)


def _waits_for_others(test: Node, unique_id: str, status: Mapping[str, str]) -> bool:
    """Was the test skipped because another table that it reads was not built? That says nothing of this one."""
    others = [p for p in test["depends_on"]["nodes"] if p != unique_id and p in status]
    return status[test["unique_id"]] == "skipped" and any(status[p] not in _DONE for p in others)
