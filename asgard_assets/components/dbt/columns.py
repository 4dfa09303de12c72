"""Column schema and column lineage of a model, from what dbt compiled and published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import dagster as dg

log = logging.getLogger(__name__)


def column_metadata(
    unique_id: str,
    manifest: Mapping[str, Any],
    columns: Mapping[str, Mapping[str, str]],
    target: Path,
    key_of: Callable[[str], dg.AssetKey],
) -> dict[str, Any]:
    """`dagster/column_schema` with the columns as published; `dagster/column_lineage` where SQL tells it.

    `columns` holds the columns of the model and of its parents by unique id.
    """
    node = manifest["nodes"][unique_id]
    declared = {c["name"].lower(): c for c in node.get("columns", {}).values()}
    schema = dg.TableSchema(
        [
            dg.TableColumn(name, kind, declared.get(name.lower(), {}).get("description") or None)
            for name, kind in columns.get(unique_id, {}).items()
        ]
    )
    found: dict[str, Any] = {"dagster/column_schema": schema}
    sql = _compiled(node, target)
    if sql:
        lineage = column_lineage(unique_id, sql, manifest, columns, key_of)
        if lineage:
            found["dagster/column_lineage"] = lineage
    return found


def column_lineage(
    unique_id: str,
    sql: str,
    manifest: Mapping[str, Any],
    columns: Mapping[str, Mapping[str, str]],
    key_of: Callable[[str], dg.AssetKey],
) -> dg.TableColumnLineage | None:
    """Which parent columns each column is made of; None where sqlglot cannot read the query."""
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    tables: dict[tuple[str, str], str] = {}
    schema: dict[str, Any] = {}
    for parent in _parents(unique_id, manifest):
        relation = manifest["nodes"].get(parent) or manifest["sources"].get(parent)
        if relation is None or parent not in columns:
            continue
        name = relation.get("alias") or relation.get("identifier") or relation["name"]
        tables[(relation["schema"].lower(), name.lower())] = parent
        schema.setdefault(relation["schema"], {})[name] = dict(columns[parent])
    try:
        tree = parse_one(sql, dialect="duckdb")
        for table in tree.find_all(exp.Table):
            # The run's own database is no part of a name: sources and models are schema.table.
            table.set("catalog", None)
        tree = qualify(tree, schema=schema, dialect="duckdb", validate_qualify_columns=False, identify=False)
        scope = build_scope(tree)
        deps: dict[str, list[dg.TableColumnDep]] = {}
        for column in cast(exp.Query, tree).named_selects:
            made_of = set()
            for leaf in lineage(column, tree, schema=schema, dialect="duckdb", scope=scope).walk():
                table = leaf.expression if isinstance(leaf.expression, exp.Table) else None
                if leaf.downstream or table is None:
                    continue
                parent = tables.get((table.db.lower(), table.name.lower()))
                if parent:
                    made_of.add((parent, leaf.name.rpartition(".")[2].strip('"')))
            deps[column] = [dg.TableColumnDep(key_of(p), c) for p, c in sorted(made_of) if c != "*"]
    except (SqlglotError, ValueError, AttributeError, KeyError) as error:
        log.warning("%s: no column lineage, sqlglot cannot read its query: %s", unique_id, error)
        return None
    return dg.TableColumnLineage(deps) if any(deps.values()) else None


def _parents(unique_id: str, manifest: Mapping[str, Any]) -> set[str]:
    """Direct parents, and those behind ephemeral models, whose SQL is part of the query."""
    found, todo = set(), [unique_id]
    while todo:
        for parent in manifest["nodes"].get(todo.pop(), {}).get("depends_on", {}).get("nodes", []):
            if parent in found:
                continue
            found.add(parent)
            if manifest["nodes"].get(parent, {}).get("config", {}).get("materialized") == "ephemeral":
                todo.append(parent)
    return found


def _compiled(node: Mapping[str, Any], target: Path) -> str:
    path = target / "compiled" / node["package_name"] / node["original_file_path"]
    if node["resource_type"] == "snapshot" and path.is_dir():
        path = path / f"{node['name']}.sql"
    return path.read_text() if path.is_file() and path.suffix == ".sql" else ""
