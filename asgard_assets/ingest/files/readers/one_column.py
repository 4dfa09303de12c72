"""A header of one column is often another mistake: a delimiter that was not said, or lines before the header."""

from __future__ import annotations

_OTHERS = ",;\t|"
_LINES = 50


def refuse(header: list[str], head: bytes, delimiter: str) -> None:
    """Raise ValueError, naming the setting, where the header and the first lines behind it say so."""
    if len(header) != 1:
        return
    lines = head.decode("utf-8", "replace").splitlines()[: _LINES + 1]
    if len(lines) > 1 and not head.endswith((b"\n", b"\r")):
        lines.pop()  # cut where the look ended
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    behind = lines[first + 1 :]
    records = [line for line in behind if line.strip()]
    for other in _OTHERS:
        if other != delimiter and other in header[0]:
            parts = header[0].count(other)
            if all(line.count(other) >= parts for line in records):
                raise ValueError(
                    f"its header is one column, {header[0]!r}, whose names are separated by {other!r}; set "
                    f"`delimiter: {_written(other)}` under `format`"
                )
    start = next((number for number, line in enumerate(behind) if delimiter in line), None)
    rest = [line for line in behind[start:] if line.strip()] if start is not None else []
    if start is not None and len(rest) > 1 and all(delimiter in line for line in rest):
        raise ValueError(
            f"its first line, {header[0]!r}, is one field, and the lines from the {first + start + 2}th on have several; "
            f"if the header stands there, set `skip_lines: {first + start + 1}` under `format`"
        )


def _written(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else f'"{delimiter}"'
