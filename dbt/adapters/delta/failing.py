"""What tests found: a few rows for the report, and all of them in the lake where a test stores them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
from dbt_common.exceptions import DbtRuntimeError

from asgard_assets.errors import AsgardError
from asgard_assets.lake import Lake
from dbt.adapters.delta.show import Node, address

ROWS, LETTERS = 10, 200
_FOUND = ("fail", "warn")


def rows_found(cursor: Any, results: Sequence[Any]) -> dict[str, list[dict[str, Any]]]:
    """The first rows that each failing test found, by the test's id."""
    found = {}
    for result in results:
        test = result.node
        if str(test.resource_type) != "test" or str(result.status) not in _FOUND:
            continue
        stored = (
            getattr(test, "relation_name", None) if getattr(test.config, "store_failures", None) else None
        )
        source = stored or f"(\n{getattr(test, 'compiled_code', None) or ''}\n)"
        try:
            rows = cursor.execute(f"select * from {source} limit {ROWS}").fetchall()
        except duckdb.Error:
            continue  # the test counts what it finds in a way that is no query by itself
        names = [column[0] for column in cursor.description]
        found[test.unique_id] = [dict(zip(names, map(_shown, row), strict=True)) for row in rows]
    return found


def _shown(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"


def keep_found(
    lake: Lake, nodes: Mapping[str, Node], status: Mapping[str, str], commit: Callable[[Node], Any]
) -> list[str]:
    """Publish the rows of each test with `store_failures`, none of them where it passes. Returns what to say."""
    messages = []
    for test_id, test in nodes.items():
        found = status.get(test_id) if test["resource_type"] == "test" else None
        if found not in (*_FOUND, "pass") or not test["config"].get("store_failures"):
            continue
        if found == "pass" and _is_empty(lake, test):
            continue
        try:
            commit(test)
        except (AsgardError, DbtRuntimeError, duckdb.Error) as error:
            messages.append(f"NOT published {'/'.join(address(test))}: {error}")
        else:
            messages.append(f"published {'/'.join(address(test))}: what {test['name']} found")
    return messages


def _is_empty(lake: Lake, test: Node) -> bool:
    table = lake.table(*address(test))
    if table is None:
        return False
    import pyarrow as pa

    return not sum(pa.table(table.get_add_actions(flatten=True))["num_records"].to_pylist())
