"""Request templates: `{row.user_id}`, `{partition.key}`; `{{` and `}}` are literal braces."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from asgard_assets.errors import SourceError, Terminal

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PARTITION = frozenset({"key", "start", "end"})

Field = tuple[str, str]
Values = Mapping[str, Mapping[str, Any]]


class RenderError(Terminal, SourceError):
    """A row does not fill its request template. Carries `field`."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: literal strings and fields in turn."""

    parts: tuple[str | Field, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises ValueError, which names the placeholder, where the text is no template."""
        return _parse(text)

    @property
    def fields(self) -> set[Field]:
        return {part for part in self.parts if isinstance(part, tuple)}

    def render(self, values: Values, quote: Callable[[str], str] = str) -> str:
        """Fill the fields; `quote` is applied to the values only. Raises RenderError on a null."""
        return "".join(p if isinstance(p, str) else quote(_text(value_of(p, values))) for p in self.parts)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Template:
    parts: list[str | Field] = []
    end = 0
    for match in _TOKEN.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        token = match.group()
        if token in ("{{", "}}"):
            parts.append(token[0])
        elif match.group(1) is None:
            raise ValueError(f"a brace in {text!r} is not closed; a literal brace is written twice")
        else:
            parts.append(_field(match.group(1)))
    parts.append(text[end:])
    return Template(tuple(part for part in parts if part != ""))


def _field(inside: str) -> Field:
    root, _, name = inside.partition(".")
    if (root == "row" and name) or (root == "partition" and name in _PARTITION):
        return root, name
    raise ValueError(
        f"unknown placeholder {{{inside}}}; there are {{row.<column>}}, {{partition.key}}, "
        "{partition.start} and {partition.end}"
    )


def value_of(field: Field, values: Values) -> Any:
    """The field's value. Raises RenderError where the row has none."""
    value = values[field[0]].get(field[1])
    if value is None:
        raise RenderError(f"{field[0]}.{field[1]} is null: no request can be made of this row", field=field)
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def fields_of(value: Any) -> set[Field]:
    """Every placeholder in a text, list or mapping. Raises ValueError as `Template.parse`."""
    if isinstance(value, str):
        return Template.parse(value).fields
    if isinstance(value, Mapping):
        return set().union(*(fields_of(inner) for inner in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(fields_of(inner) for inner in value))
    return set()


def render_json(value: Any, values: Values) -> Any:
    """A JSON value with its texts filled in; a text that is one placeholder keeps the value's type."""
    if isinstance(value, str):
        template = Template.parse(value)
        if len(template.parts) == 1 and isinstance(template.parts[0], tuple):
            return value_of(template.parts[0], values)
        return template.render(values)
    if isinstance(value, Mapping):
        return {key: render_json(inner, values) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [render_json(inner, values) for inner in value]
    return value
