"""Text and names as SQL spells them."""

from __future__ import annotations

import re


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literally(uri: str) -> str:
    """The address for DuckDB, which takes it for a pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in uri)


def plainly(pattern: str) -> str:
    """The address that `literally` made into a pattern."""
    return re.sub(r"\[([*?[])\]", r"\1", pattern)
