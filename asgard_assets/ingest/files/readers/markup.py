"""XML records: elements of one name become rows, their children columns."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree  # noqa: S405
from collections.abc import Iterator
from typing import IO, Any

from asgard_assets.ingest.files.readers.records import Records, gathered
from asgard_assets.ingest.files.source.formats import Xml

_BATCH_ROWS = 10_000


def records(stream: IO[bytes], options: Xml) -> Iterator[Records]:
    """Yield the rows in document order, as they are read: a long document is not held.

    expat refuses entities that blow up; a document that is not well formed raises ParseError.
    """
    some, start, depth = list[dict[str, Any]](), 0, 0
    events = ElementTree.iterparse(stream, events=("start", "end"))  # noqa: S314
    parents: list[ElementTree.Element] = []
    for event, element in events:
        if event == "start":
            parents.append(element)
            depth += _name(element) == options.row_tag
            continue
        parents.pop()
        if _name(element) != options.row_tag:
            continue
        depth -= 1
        if depth:
            continue  # a record within a record belongs to it
        value = _value(element, options)
        some.append(value if isinstance(value, dict) else {options.value_name: value})
        if parents:
            parents[-1].remove(element)
        if len(some) == _BATCH_ROWS:
            yield _batch(some, start)
            start, some = start + len(some), []
    yield _batch(some, start)


def _batch(some: list[dict[str, Any]], start: int) -> Records:
    import numpy as np

    repeats = {name for row in some for name, value in row.items() if isinstance(value, list)}
    columns = [(name, as_lists(values) if name in repeats else values) for name, values in gathered(some)]
    return Records([*columns], np.arange(start, start + len(some)), text=True)


def as_lists(values: list[Any]) -> list[Any]:
    """An element that repeats in one record is a list in all."""
    return [value if value is None or isinstance(value, list) else [value] for value in values]


def _name(element: ElementTree.Element) -> str:
    """The tag without its namespace."""
    return element.tag.rpartition("}")[2]


def _value(element: ElementTree.Element, options: Xml) -> Any:
    """Text, or a dict of attributes and children; a name that repeats is a list."""
    found: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]

    for name, value in element.attrib.items():
        add(options.attribute_prefix + name.rpartition("}")[2], value)
    text = (element.text or "").strip()
    for child in element:
        add(_name(child), _value(child, options))
        if child.tail and child.tail.strip():
            text = f"{text} {child.tail.strip()}".strip()
    if not found:
        return text or None
    if text:
        add(options.value_name, text)
    return found
