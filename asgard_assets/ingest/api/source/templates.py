"""Request templates: `{row.user_id}`, `{row.day|date:%Y%m%d}`, `{partition.key}`; `{{` and `}}` are literal."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from asgard_assets.errors import SourceError, Terminal
from asgard_assets.ingest.api.source.filters import OPTIONAL, Filter, parse_filter

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
PARTITION_WORDS = frozenset({"key", "start", "end"})
PLACEHOLDERS = (
    "there are {row.<column>}, {partition.key}, {partition.start}, {partition.end}, {cursor.value}, and of a list {page.number}, "
    "{page.offset}, {page.token} and {page.size}; a literal brace, as in GraphQL, is written twice"
)
_PAGE = frozenset({"number", "offset", "token", "size"})

Field = tuple[str, str]
Values = Mapping[str, Mapping[str, Any]]


class RenderError(Terminal, SourceError):
    """A row does not fill its request template. Carries `field`."""


class Slot(NamedTuple):
    """A placeholder: where its value comes from, and what is done to it."""

    root: str
    name: str
    filters: tuple[tuple[str, Filter], ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: literal strings and placeholders in turn. `alone`: its only placeholder, with what stands around it."""

    parts: tuple[str | Slot, ...]
    alone: tuple[str, Slot, str] | None = None

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises ValueError, which names the placeholder, where the text is no template."""
        return _parse(text)

    @property
    def fields(self) -> set[Field]:
        return {(part.root, part.name) for part in self.parts if isinstance(part, Slot)}

    def absent(self, values: Values) -> bool:
        """Whether the whole is to be left out: an optional placeholder has no value."""
        for part in self.parts:
            if part.__class__ is Slot and part.optional and _missing(part, values):  # type: ignore[union-attr]
                return True
        return False

    def values(self, values: Values) -> list[str] | None:
        """The texts of a list, where the whole is one placeholder with a list as its value."""
        if len(self.parts) != 1 or isinstance(self.parts[0], str):
            return None
        found = value_of(self.parts[0], values)
        return [text_of(one) for one in found] if isinstance(found, list | tuple) else None

    def render(self, values: Values, quote: Callable[[str], str] = str) -> str:
        """Fill the placeholders; `quote` is applied to the values only. Raises RenderError on a null."""
        texts = [p if p.__class__ is str else quote(text_of(value_of(p, values))) for p in self.parts]  # type: ignore[arg-type]
        return "".join(texts)  # type: ignore[arg-type]


def _missing(slot: Slot, values: Values) -> bool:
    value = values[slot.root].get(slot.name)
    return value is None or (slot.root == "cursor" and value == "")  # the first run has none


@lru_cache(maxsize=1024)
def _parse(text: str) -> Template:
    parts: list[str | Slot] = []
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
            parts.append(_slot(match.group(1)))
    parts.append(text[end:])
    slots = [at for at, part in enumerate(parts) if isinstance(part, Slot)]
    alone = None
    if len(slots) == 1:
        at = slots[0]
        alone = "".join(parts[:at]), parts[at], "".join(parts[at + 1 :])  # type: ignore[arg-type]
    return Template(tuple(part for part in parts if part != ""), alone)  # type: ignore[arg-type]


def _slot(inside: str) -> Slot:
    path, *texts = inside.split("|")
    root, _, name = path.strip().partition(".")
    known = (
        (root == "row" and name)
        or (root == "partition" and name)
        or (root == "page" and name in _PAGE)
        or (root, name) == ("job", "id")
    )
    if not known and (root, name) != ("cursor", "value"):
        raise ValueError(f"unknown placeholder {{{inside}}}; {PLACEHOLDERS}")
    filters = tuple((text.strip(), parse_filter(text)) for text in texts if text.strip() != OPTIONAL)
    return Slot(root, name, filters, optional=any(text.strip() == OPTIONAL for text in texts))


def value_of(slot: Slot, values: Values) -> Any:
    """The placeholder's value, its transforms applied. Raises RenderError where there is none."""
    value = values[slot.root].get(slot.name)
    if value.__class__ is int and not slot.filters:
        return value
    for text, transform in slot.filters:
        if value is None and not hasattr(transform, "takes_null"):
            continue
        try:
            value = transform(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise RenderError(
                f"{slot.root}.{slot.name} cannot be transformed by {text}: {error}",
                field=(slot.root, slot.name),
            ) from error
    if isinstance(value, float) and not math.isfinite(value):
        raise RenderError(
            f"{slot.root}.{slot.name} is {value}: no request can be made of this row",
            field=(slot.root, slot.name),
        )
    if value is None:
        raise RenderError(
            f"{slot.root}.{slot.name} is null: no request can be made of this row",
            field=(slot.root, slot.name),
        )
    return value


def text_of(value: Any) -> str:
    """A value as it stands in a request."""
    if value.__class__ is int:
        return str(value)
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
        if len(template.parts) == 1 and isinstance(template.parts[0], Slot):
            return value_of(template.parts[0], values)
        return template.render(values)
    if isinstance(value, Mapping):
        return {
            key: render_json(inner, values)
            for key, inner in value.items()
            if not (isinstance(inner, str) and Template.parse(inner).absent(values))
        }
    if isinstance(value, list | tuple):
        return [render_json(inner, values) for inner in value]
    return value
