"""Where sources and tables stand, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from asgard_assets.cli.options import Output
from asgard_assets.cli.terminal import console, print_json
from asgard_assets.components.following.outlook import Outlook, told
from asgard_assets.ingest.api.plan.checkpoint import CursorState
from asgard_assets.operations.state import Backlog, Files, SourceState, TableState

_ORIGIN = {"start": "incremental.start", "set": "set by hand"}


def show(
    states: Sequence[SourceState],
    tables: Sequence[TableState],
    one: bool,
    output: Output,
    lake: Mapping[str, Outlook] | None = None,
) -> None:
    """Print them; as JSON one object for one source, else a list. `lake` is what the lake says of tables."""
    lake = lake or {}
    if output is Output.json:
        shown = [asdict(t) | ({"lake": _lake_data(lake[t.asset])} if t.asset in lake else {}) for t in tables]
        found = [_data(state) for state in states] + shown
        print_json(found[0] if one else found)
        return
    for state in states:
        for line in _lines(state, lake):
            console.print(line)
    for table in tables:
        console.print(_table(table))
        for line in told(lake[table.asset]) if table.asset in lake else ():
            console.print(f"  {line}")
    if not states and not tables:
        console.print("the project has no sources")


def show_files(found: Files, output: Output) -> None:
    """Each file with its state, then how many there are of each."""
    if output is Output.json:
        print_json({"counts": found.counts, "files": [asdict(each) for each in found.files]})
        return
    for each in found.files:
        console.print(f"{each.state:8} {each.ds}  {each.path}" + (f"  {each.reason}" if each.reason else ""))
    console.print(", ".join(f"{n} {state}" for state, n in sorted(found.counts.items())) or "no such file")


def _data(state: SourceState) -> dict[str, Any]:
    told = {"source": state.source, "kind": state.kind.value, "paused": state.paused}
    if state.error:
        told["error"] = state.error
    backlog = asdict(state.backlog) if state.backlog else {}
    cursor = asdict(state.cursor) if state.cursor else {}
    return {**told, **backlog, **cursor, "tables": [asdict(table) for table in state.tables]}


def _lines(state: SourceState, lake: Mapping[str, Outlook]) -> Iterator[str]:
    parts = [f"{state.source} ({state.kind.value})"]
    if state.error:
        parts.append(f"cannot be listed: {state.error}")
    if state.backlog:
        parts.append(_waiting(state.backlog))
    if state.paused:
        parts.append(state.paused)
    if state.cursor is None or state.paused:
        yield ": ".join([parts[0], ", ".join(parts[1:])]) if parts[1:] else parts[0]
    if state.cursor is not None:
        yield from _cursor(state.cursor)
    for table in state.tables:
        yield f"  {_table(table)}"
        yield from (f"    {line}" for line in (told(lake[table.asset]) if table.asset in lake else ()))


def _waiting(backlog: Backlog) -> str:
    failed = f", {backlog.failed_files} files in quarantine" if backlog.failed_files else ""
    if not backlog.files:
        return f"no files are waiting{failed}"
    hours = backlog.oldest_seconds / 3600
    age = f"{backlog.oldest_seconds / 60:.0f} min" if hours < 1 else f"{hours:.1f} h"
    return f"{backlog.files} files ({backlog.bytes} bytes) of {backlog.days} days are waiting, the oldest for {age}{failed}"


def _cursor(stands: CursorState) -> Iterator[str]:
    shown = stands.cursor if stands.cursor not in (None, "") else "none"
    origin = _ORIGIN.get(stands.came_from, f"the run of {stands.ds}")
    yield f"{stands.source}: cursor {shown} ({origin})"
    if stands.sent != stands.cursor:
        yield f"with its overlap, the next run asks from {stands.sent}"
    for run in stands.history:
        yield f"  {run['ds']}: {run['from'] or 'none'} → {run['to']}"


_INSIDE = ("asset", "current", "reads", "changed", "built")
"""Of a state, what only automation needs."""


def _lake_data(outlook: Outlook) -> dict[str, Any]:
    told = {name: value for name, value in asdict(outlook.state).items() if name not in _INSIDE}
    return {**told, "failed": {k: asdict(each) for k, each in outlook.failed.items()}, "held": outlook.held}


def _table(table: TableState) -> str:
    last = ""
    if table.last_published is not None:
        last = f", last run {datetime.fromtimestamp(table.last_published, UTC):%Y-%m-%d %H:%M} UTC"
    if table.partitions is None:
        done = "published" if table.published else "never published"
        return f"{table.asset}: {done}{', the last run failed' if table.failed else ''}{last}"
    newest = f", newest {table.newest}" if table.newest else ""
    failed = f", {table.failed} failed" if table.failed else ""
    cursor = f", cursor {table.cursor}" if table.cursor else ""
    return f"{table.asset}: {table.published} of {table.partitions} partitions{newest}{failed}{last}{cursor}"
