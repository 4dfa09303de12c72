"""Rows as Postgres' COPY reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def line(row: Sequence[Any]) -> str:
    """A row as COPY reads it. Postgres has no character U+0000; it becomes U+FFFD."""
    return "\t".join(map(_field, row)) + "\n"


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    if isinstance(value, dict | list):
        value = json.dumps(value, default=str)
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if "\\u0000" in text:
        text = _NUL.sub(r"\1\\ufffd", text)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
