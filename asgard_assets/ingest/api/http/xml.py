"""XML as objects: children by name (several: a list), attributes as `@name`, text beside them as `#text`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

from asgard_assets.ingest.api.http.messages import Oversized, Undecodable

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_CHUNK = 1 << 18


def read_xml(text: str) -> Any:
    """The root element by its name. Raises Undecodable."""
    root: dict[str, Any] = {}
    reading = _Reading()
    reading.above.append((root, []))
    reading.parse(_DECLARATION.sub("", text.removeprefix("\ufeff")), True)
    return root


def xml_items(text: IO[str], path: str, most: int, absent: bool = False) -> Iterator[Any]:
    """The elements at a dotted path from the root, one after the other; nothing else is kept in memory.

    Raises Undecodable where there is none, unless it may be `absent`, Oversized where one has more than about `most` bytes.
    """
    reading = _Reading(path.split("."))
    count, begins = 0, True
    while chunk := text.read(_CHUNK):
        reading.parse(_DECLARATION.sub("", chunk.removeprefix("\ufeff")) if begins else chunk)
        begins = False
        count += len(reading.found)
        yield from reading.taken()
        if reading.size > most:
            raise Oversized(f"one record has more than {most} bytes (sink.max_body_bytes)")
    reading.parse("", True)
    if not count and not absent:
        raise Undecodable(f"the XML has no element at `{path}`")


class _Reading:
    """Builds objects of the elements at `path`; of all, where `above` holds something from the beginning."""

    def __init__(self, path: list[str] | None = None):
        from xml.parsers import expat

        self.above: list[tuple[dict[str, Any], list[str]]] = []
        self.found: list[Any] = []
        self._path, self._names, self._start = path, list[str](), 0
        self._error = expat.ExpatError
        self._parser = parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._begins, self._ends
        parser.CharacterDataHandler = self._said
        parser.EntityDeclHandler = self._entity

    @property
    def size(self) -> int:
        """Bytes of the element that is being read."""
        return self._parser.CurrentByteIndex - self._start if self.above else 0

    def parse(self, text: str, last: bool = False) -> None:
        try:
            self._parser.Parse(text, last)
        except self._error as error:
            raise Undecodable(f"the page is no XML: {error}") from error

    def taken(self) -> list[Any]:
        found, self.found = self.found, []
        return found

    def _begins(self, name: str, attributes: Mapping[str, str]) -> None:
        self._names.append(name)
        if not self.above and self._names != self._path:
            return
        if not self.above:
            self._start = self._parser.CurrentByteIndex
        self.above.append(({f"@{key}": value for key, value in attributes.items()}, []))

    def _ends(self, name: str) -> None:
        self._names.pop()
        if not self.above:
            return
        node, parts = self.above.pop()
        said = "".join(parts).strip()
        value: Any = node
        if not node:
            value = said or None
        elif said:
            node["#text"] = said
        if not self.above:
            self.found.append(value)
            return
        parent = self.above[-1][0]
        if name not in parent:
            parent[name] = value
        elif isinstance(parent[name], list):
            parent[name].append(value)
        else:
            parent[name] = [parent[name], value]

    def _said(self, text: str) -> None:
        if self.above:
            self.above[-1][1].append(text)

    def _entity(self, *_: Any) -> None:
        raise Undecodable("the XML declares entities, which are not read")
