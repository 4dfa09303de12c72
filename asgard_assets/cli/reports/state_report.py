"""Where sources and tables stand, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from asgard_assets.cli.options import Output
from asgard_assets.cli.terminal import console, print_json
from asgard_assets.components.following.outlook import Outlook
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
        told = [_data(state) for state in states] + shown
        print_json(told[0] if one else told)
        return
    for state in states:
        for line in _lines(state):
            console.print(line)
    for table in tables:
        console.print(_table(table))
        for line in _of_lake(lake[table.asset]) if table.asset in lake else ():
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


def _lines(state: SourceState) -> Iterator[str]:
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


def _of_lake(outlook: Outlook) -> Iterator[str]:
    """A line for each stretch of partitions that is not up to date."""
    state = outlook.state
    order = sorted({*state.current, *state.missing, *state.stale, *state.waiting})
    for each in _ranges(state.missing, order):
        yield f"missing     {each}"
    for cause in dict.fromkeys(state.stale.values()):
        why = f"{cause.table} {cause.partition} changed at {cause.since}" if cause else "an input is gone"
        for each in _ranges([key for key, found in state.stale.items() if found == cause], order):
            yield f"stale       {each}: {why}"
    for key, failing in outlook.failed.items():
        again = f"again at {failing.next}" if failing.next else "again once an input changes"
        yield f"failed      {key or 'the table'}: asked for {failing.tries} times, {again}"
    for each in _ranges(outlook.held, order):
        yield f"held        {each}: its run was cancelled; until an input changes, or you run it"
    for each in _ranges(state.older_code, order):
        yield f"older code  {each}"
    for each in _ranges(state.open, order):
        yield f"open        {each}"
    if state.waiting:
        key, absent = next(iter(state.waiting.items()))
        shown = ", ".join(_ranges(list(state.waiting), order))
        yield f"waiting     {shown}: {key or 'the table'} lacks {absent}"


def _ranges(keys: Sequence[str], order: Sequence[str]) -> list[str]:
    """The keys as ranges; in `order` are all that there are."""
    if list(keys) == [""]:
        return ["the table"]
    found = list[list[str]]()
    place = {key: number for number, key in enumerate(order)}
    for key in sorted(keys):
        if found and place[key] == place[found[-1][-1]] + 1:
            found[-1].append(key)
        else:
            found.append([key])
    return [each[0] if len(each) == 1 else f"{each[0]}...{each[-1]}" for each in found]


def _table(table: TableState) -> str:
    last = ""
    if table.last_published is not None:
        last = f", last run {datetime.fromtimestamp(table.last_published, UTC):%Y-%m-%d %H:%M} UTC"
    if table.partitions is None:
        done = "published" if table.published else "never published"
        return f"{table.asset}: {done}{', the last run failed' if table.failed else ''}{last}"
    newest = f", newest {table.newest}" if table.newest else ""
    failed = f", {table.failed} failed" if table.failed else ""
    return f"{table.asset}: {table.published} of {table.partitions} partitions{newest}{failed}{last}"
