"""Where an incremental table stands: a cursor, written down before the commit that moves to it.

Load N writes `_plans/<table>/N.cursor.json`. The commit of its rows carries N as a transaction number of the table, and is
refused where another load came first. So a load that was killed has moved nothing, and no cursor is ahead of its rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from asgard_assets.lake import Lake

_ENDING = ".cursor.json"


@dataclass(frozen=True)
class Cursor:
    """The greatest value that the table has, as the database writes it; None: none yet. `number` is its load's."""

    number: int
    value: str | None


def cursor_id(name: str) -> str:
    """Under which the number of the last load stands in the table's log."""
    return f"sql/{name}"


def read_cursor(lake: Lake, name: str) -> Cursor:
    """Where the table stands. A note that is gone means: from the beginning, which by key changes nothing."""
    number = lake.snapshot("bronze", name).number(cursor_id(name))
    if not number:
        return Cursor(0, None)
    try:
        return Cursor(number, json.loads(lake.get(_path(name, number)))["cursor"])
    except FileNotFoundError:
        return Cursor(number, None)


def write_cursor(lake: Lake, name: str, after: Cursor, value: str | None) -> Cursor:
    """Note the next cursor under a number that no other load has."""
    written = [int(each[:8]) for each in lake.names(f"_plans/{name}") if each.endswith(_ENDING)]
    number = max([*written, after.number], default=0)
    told = {"previous": after.number, "cursor": value, "written_at": datetime.now(UTC).isoformat()}
    while True:
        number += 1
        if lake.put_new(_path(name, number), json.dumps(told).encode()):
            return Cursor(number, value)


def _path(name: str, number: int) -> str:
    return f"_plans/{name}/{number:08d}{_ENDING}"
