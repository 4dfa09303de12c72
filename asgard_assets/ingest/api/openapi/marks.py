"""The guesses in a source's YAML: found by their comments, and written back when they were looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from asgard_assets.ingest.api.openapi.writing import with_value

State = Literal["proven", "corrected", "not seen"]
_MARK = re.compile(r"#\s*guessed: (.*)$")


@dataclass(frozen=True)
class Finding:
    """What the API's answers say of one guess. `value` is what the field should be."""

    field: str
    state: State
    value: Any
    why: str


def guessed(text: str) -> dict[str, int]:
    """Each field of the YAML that is marked as guessed, with its line (from 0); in a `defs.yaml`, of its source."""
    import yaml

    lines = text.splitlines()
    if not any(map(_MARK.search, lines)):
        return {}
    keys = _keys(yaml.compose(text, yaml.SafeLoader))
    starts = {line: ".".join(path).removeprefix("attributes.source.") for path, line in keys}
    return {starts[n]: n for n, line in enumerate(lines) if _MARK.search(line) and n in starts}


def with_findings(text: str, findings: Sequence[Finding]) -> str:
    """The YAML with what was proven and corrected; what was not seen stays a guess."""
    lines, marked = text.splitlines(), guessed(text)
    for finding in findings:
        if finding.field in marked and finding.state != "not seen":
            n = marked[finding.field]
            lines[n] = with_value(lines[n], finding.value, finding.state, finding.why)
    return "\n".join(lines) + "\n"


def _keys(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Each key of a block mapping with its line, inner ones first, so that the outermost of a line is kept."""
    import yaml

    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        inner = (*path, key.value)
        yield from _keys(value, inner)
        yield inner, key.start_mark.line
