"""dbt's tests as asset checks: the asset that each belongs to, and its name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import dagster as dg

Node = Mapping[str, Any]
NO_TABLE = "tests"
_RESERVED = {"up_to_date"}  # checks that the platform gives each table
_ROWS = "failing rows"


def with_homes(
    found: Mapping[str, Any], is_asset: Callable[[Node], bool], output: Callable[[Node], str]
) -> Mapping[str, Any]:
    """The manifest with each test attached to one asset, under a name that Dagster takes.

    A test of an ephemeral model belongs to what that model reads. One of several models belongs to the last that it
    names, one of several sources likewise. One that reads no table belongs to an asset `[project, tests]` of its own.
    Dagster gives each check an output `output(asset)_name`: tests whose outputs are alike, or are that of an asset,
    are told apart by a few letters of their ids.
    """
    nodes, sources = dict(found["nodes"]), dict(found["sources"])
    parent_map = dict(found["parent_map"])
    homeless = f"source.{found['metadata'].get('project_name') or 'dbt'}.asgard.{NO_TABLE}"
    alike, taken = dict[str, list[str]](), {output(n).lower() for n in nodes.values() if is_asset(n)}
    for unique_id, node in found["nodes"].items():
        if node["resource_type"] != "test":
            continue
        read = _tables(node["depends_on"]["nodes"], found, is_asset)
        own = _tables([node["attached_node"]] if node.get("attached_node") else [], found, is_asset)
        home = _home(own, nodes) or _home(read, nodes) or homeless
        if home == homeless:
            sources[homeless] = _no_table(homeless)
        name = re.sub(r"\W", "_", node["name"], flags=re.ASCII)
        depends = {**node["depends_on"], "nodes": read or [homeless]}
        nodes[unique_id] = {**node, "name": name, "attached_node": home, "depends_on": depends}
        parent_map[unique_id] = read or [homeless]
        place = _named(node, found) or home
        full = f"{output(nodes.get(place) or sources[place])}_{name}".lower()
        taken |= {full} if name.lower() in _RESERVED else set()
        alike.setdefault(full, []).append(unique_id)
    for full, same in alike.items():
        for unique_id in same if len(same) > 1 or full in taken else ():
            told_apart = hashlib.sha256(unique_id.encode()).hexdigest()[:8]
            nodes[unique_id] = {**nodes[unique_id], "name": f"{nodes[unique_id]['name']}_{told_apart}"}
    return {**found, "nodes": nodes, "sources": sources, "parent_map": parent_map}


def _tables(read: Sequence[str], found: Mapping[str, Any], is_asset: Callable[[Node], bool]) -> list[str]:
    """Assets and sources behind these nodes: what an ephemeral model reads stands for it."""
    nodes, tables, seen = found["nodes"], dict[str, None](), set[str]()

    def look(unique_id: str) -> None:
        if unique_id in seen:
            return
        seen.add(unique_id)
        if unique_id in found["sources"] or (unique_id in nodes and is_asset(nodes[unique_id])):
            tables[unique_id] = None
            return
        for parent in nodes.get(unique_id, {}).get("depends_on", {}).get("nodes", []):
            look(parent)

    for unique_id in read:
        look(unique_id)
    return list(tables)


def _home(read: Sequence[str], nodes: Mapping[str, Node]) -> str | None:
    models = [unique_id for unique_id in read if unique_id in nodes]
    return (models or list(read) or [None])[-1]


def _named(test: Node, found: Mapping[str, Any]) -> str | None:
    """The model that the test's own `meta.dagster.ref` names, which goes before all else."""
    meta = (test.get("config") or {}).get("meta") or test.get("meta") or {}
    ref = (meta.get("dagster") or {}).get("ref") or {}
    package = ref.get("package") or found["metadata"].get("project_name")
    wanted = (ref.get("name"), package, ref.get("version"))
    for unique_id, node in found["nodes"].items() if ref else ():
        if (node["name"], node["package_name"], node.get("version")) == wanted:
            return unique_id
    return None


def _no_table(unique_id: str) -> Node:
    project = unique_id.split(".")[1]
    return {
        "unique_id": unique_id, "resource_type": "source", "name": NO_TABLE, "source_name": project, "package_name": project,
        "schema": project, "identifier": NO_TABLE, "database": None, "relation_name": None, "fqn": [project, NO_TABLE],
        "description": f"Tests of the dbt project {project} that read no table.", "original_file_path": "",
        "meta": {}, "config": {}, "tags": [], "columns": {}, "freshness": None,
    }  # fmt: skip


def no_table(found: Mapping[str, Any]) -> str | None:
    """The asset of tests that read no table, where the project has such tests."""
    return next((u for u in found["sources"] if u.endswith(f".asgard.{NO_TABLE}")), None)


def with_rows(metadata: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any]:
    """The metadata of a check with the first rows that its test found."""
    if not rows:
        return metadata
    columns = dg.TableSchema([dg.TableColumn(name, _kind(row[name] for row in rows)) for name in rows[0]])
    records = [dg.TableRecord(dict(row)) for row in rows]
    return {**metadata, _ROWS: dg.MetadataValue.table(records, columns)}


def _kind(values: Any) -> str:
    kinds: Collection[type] = {type(value) for value in values if value is not None}
    return (
        "string"
        if str in kinds or not kinds
        else "bool"
        if kinds == {bool}
        else "float"
        if float in kinds
        else "int"
    )
