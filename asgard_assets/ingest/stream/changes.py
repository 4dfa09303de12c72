"""Changes of a database as Debezium sends them: what kind of change a record is, and of which row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_OPERATIONS = frozenset("crudtm")
"""Created, read by a snapshot, updated, deleted, truncated, and messages."""


class NoChangeError(Exception):
    """A record that is no change. The message is the reason."""


def change(document: Any) -> tuple[dict[str, Any], bool]:
    """The change without the schema around it, and whether its row is gone. Raises NoChangeError."""
    found = _bare(document)
    if not isinstance(found, Mapping) or str(found.get("op")) not in _OPERATIONS:
        raise NoChangeError("no change as Debezium sends it: no op")
    if not isinstance(found.get("source"), Mapping):
        raise NoChangeError("no change as Debezium sends it: no source")
    return dict(found), found["op"] in ("d", "t")


def row_key(key: str | None, found: Mapping[str, Any] | None) -> str:
    """What names the row: the value of its one key column, or its key as JSON. Of a truncation, the table."""
    if found is not None and found.get("op") == "t":
        return f"{found['source'].get('schema')}.{found['source'].get('table')}"
    try:
        told = _bare(json.loads(key or "null"))
    except ValueError:
        return key or ""
    if isinstance(told, Mapping):
        values = list(told.values())
        told = values[0] if len(values) == 1 else json.dumps(told, sort_keys=True, separators=(",", ":"))
    return "" if told is None else str(told)


def _bare(document: Any) -> Any:
    """What the JSON converter wraps together with a schema."""
    if isinstance(document, Mapping) and document.keys() == {"schema", "payload"}:
        return document["payload"]
    return document
