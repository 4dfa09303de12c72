"""A preview in words: text for a terminal, Markdown for a pull request, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from asgard_assets import strangers
from asgard_assets.cli.options import Report
from asgard_assets.cli.reports.api_report import preview_data, show_preview
from asgard_assets.cli.terminal import echo
from asgard_assets.operations.preview import ApiPreview, Preview, Shown, TablePreview

_CELL = 80


def show(found: Sequence[Shown], output: Report) -> None:
    """Print every preview; JSON is one object for one source, a list for several."""
    if output is Report.json:
        told = [_as_data(one) for one in found]
        echo(json.dumps(told[0] if len(told) == 1 else told, indent=1, default=str, allow_nan=False))
        return
    for one in found:
        if isinstance(one, ApiPreview):
            show_preview(one.source, one.answers, output)
        elif isinstance(one, TablePreview):
            echo(_table_markdown(one) if output is Report.markdown else _table_text(one))
        else:
            as_words = as_markdown if output is Report.markdown else as_text
            echo(as_words(one.preview, one.source, one.waiting))


def _as_data(one: Shown) -> dict[str, Any]:
    if isinstance(one, ApiPreview):
        return preview_data(one.source, one.answers)
    if isinstance(one, TablePreview):
        return {
            "asset": one.asset,
            "partition": one.partition,
            "origin": one.origin,
            "columns": one.columns,
            "changes": [asdict(change) for change in one.changes],
            "rows": _plain(list(one.rows)),
        }
    return as_data(one.preview, one.source, one.waiting)


def _table_text(one: TablePreview) -> str:
    if not one.columns:
        return f"{one.asset}: nothing is published yet"
    lines = [f"{one.asset}{one.partition and ' ' + one.partition}, {one.origin}:"]
    lines += [json.dumps(row, default=str) for row in one.rows]
    lines.append("columns: " + ", ".join(f"{column} {kind}" for column, kind in one.columns.items()))
    lines += [
        f"{change.kind} {change.column} {change.before} {change.after}".rstrip() for change in one.changes
    ]
    return "\n".join(lines)


def _table_markdown(one: TablePreview) -> str:
    head = [f"## Preview: {one.asset}", ""]
    if not one.columns:
        return "\n".join([*head, "Nothing is published yet."])
    rows = _table(tuple(one.columns), (tuple(row.get(name) for name in one.columns) for row in one.rows))
    return "\n".join([*head, _table(("column", "type"), one.columns.items()), "", rows])


def as_data(shown: Preview, name: str, waiting: bool) -> dict[str, Any]:
    """Everything that the preview holds; numbers that JSON does not have are written as text."""
    return {
        "source": name, "files": shown.files, "waiting": waiting, "columns": shown.columns,
        "new_table": shown.new_table, "changes": [asdict(change) for change in shown.changes], "bad": shown.bad,
        "unreadable": shown.unreadable, "rows": _plain(shown.rows.to_pylist()),
    }  # fmt: skip


def as_text(shown: Preview, name: str, waiting: bool) -> str:
    """Files, rows as JSON, columns, what changes, and what would go to quarantine."""
    lines = [f"{len(shown.files)} files {'that wait to be loaded' if waiting else 'that are loaded'}:"]
    for path in shown.files:
        why = f"  CANNOT BE READ: {shown.unreadable[path]}" if path in shown.unreadable else ""
        lines.append(f"  {path}{why}")
    lines += [json.dumps(row, default=str) for row in _rows(shown)]
    lines.append("columns: " + ", ".join(f"{column} {kind}" for column, kind in shown.columns.items()))
    return "\n".join([*lines, *_remarks(shown, name), "nothing was written"])


def as_markdown(shown: Preview, name: str, waiting: bool) -> str:
    """The same as a comment for a pull request: the columns, the rows as a table, then what changes."""
    head = [
        f"## Preview: bronze/{name}",
        "",
        f"{len(shown.files)} files {'wait' if waiting else 'are loaded'}.",
    ]
    types = _table(("column", "type"), shown.columns.items())
    rows = _table(tuple(shown.columns), (tuple(row.get(c) for c in shown.columns) for row in _rows(shown)))
    unread = [f"cannot be read: {reason}" for reason in shown.unreadable.values()]
    remarks = [f"- {strangers.inline(line)}" for line in (*unread, *_remarks(shown, name))]
    return "\n".join([*head, "", types, "", rows if shown.columns else "", "", *remarks]).rstrip()


def _remarks(shown: Preview, name: str) -> Iterator[str]:
    for change in shown.changes:
        types = " → ".join(filter(None, (change.before, change.after)))
        yield f"{change.kind} {change.column} {types}".rstrip()
    for text in shown.bad:
        yield f"to quarantine: {text}"
    if shown.new_table:
        yield f"bronze/{name} does not exist yet: the first load creates it"


def _rows(shown: Preview) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k in shown.columns} for row in shown.rows.to_pylist()]


def _table(head: tuple[str, ...], rows: Any) -> str:
    return strangers.table([_cell(name) for name in head], (map(_cell, row) for row in rows))


def _cell(value: Any) -> str:
    """Not longer than a reader looks at."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
