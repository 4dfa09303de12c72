"""Tables of the lake that SQL names without dbt's graph knowing: what hooks, operations and macros read and write.

In a warehouse they are simply there. Here a statement that writes to one finds it as a table, with its rows; a
query that misses one finds it as a view; and what such statements made or changed is published at the run's end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dbt.adapters.delta.show import Node, Shown, address, unnamed

_PART = r'"(?:[^"]|"")+"|\w+'
_NAME = rf"((?:{_PART})(?:\s*\.\s*(?:{_PART})){{0,2}})"
_WRITTEN = re.compile(
    r"\b(?:insert\s+(?:or\s+\w+\s+)?into|update|delete\s+from|merge\s+into|truncate(?:\s+table)?"
    r"|alter\s+table(?:\s+if\s+exists)?|create\s+table\s+if\s+not\s+exists|copy)\s+" + _NAME,
    re.IGNORECASE,
)
_NAMED = re.compile(_NAME)
_MISSED = re.compile(r"(Table|Schema) with name \"?(.+?)\"? does not exist")
# What dbt and this adapter make on their way, and leave behind where a model fails.
_LEFT = re.compile(r"__(dbt|delta)_")


class Beside:
    """One per dbt process, beside what `Shown` shows for the graph."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown

    def before(self, cursor: Any, sql: str) -> None:
        """Make tables of the views over the lake that the statement writes to."""
        for schema, name in self._names(_WRITTEN.findall(sql)):
            if not _LEFT.search(name):
                self.shown.as_table(cursor, schema, name)

    def find(self, cursor: Any, sql: str, missed: str) -> bool:
        """Show what a query names and the run's database has not."""
        found = _MISSED.search(missed)
        kind, wanted = (found[1], found[2].rpartition(".")[2].lower()) if found else ("", "")
        shown = False
        for schema, name in self._names(_NAMED.findall(sql)):
            if found is None or wanted == (name if kind == "Table" else schema).lower():
                shown = self.shown.beside(cursor, schema, name) or shown
        return shown

    def _names(self, found: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(schema, name) of what lies in the run's own database."""
        for text in dict.fromkeys(found):
            parts = [p[1:-1].replace('""', '"') if p[0] == '"' else p for p in re.findall(_PART, text)]
            if len(parts) == 3 and parts.pop(0).lower() != self.shown.database.lower():
                continue
            yield ("main", parts[0]) if len(parts) == 1 else (parts[0], parts[1])

    def made(self, cursor: Any, nodes: Mapping[str, Node]) -> list[Node]:
        """Tables and views that statements made and no node of the project is."""
        known = {tuple(map(str.lower, address(node))) for node in nodes.values() if "schema" in node}
        known |= {tuple(map(str.lower, place)) for place in self.shown.places}
        found = cursor.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = $1 and not temporary "
            "union all select schema_name, view_name from duckdb_views() "
            "where database_name = $1 and not internal and not temporary",
            [self.shown.database],
        ).fetchall()
        return [
            unnamed(schema, name)
            for schema, name in sorted(found)
            if (schema.lower(), name.lower()) not in known and not _LEFT.search(name)
        ]
