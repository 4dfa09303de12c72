"""Dotted paths into JSON, such as `meta.pages` or `errors.0.message`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from asgard_assets.ingest.api.values.exact import Exact

_CHOSEN = re.compile(r"^([^.\[\]]*)\[(\w+)=([^\]]*)\](?:\.(.*))?$", re.DOTALL)
_COUNT = re.compile(
    r"^\s*([0-9]{1,3}(?:[,' \u00a0\u2009\u202f][0-9]{3})+|[0-9]+)(?:\.0+)?\s*$"
)  # 1250, "1,250", "1250.0"
_YES, _NO = frozenset({"true", "yes", "y", "1", "t"}), frozenset({"false", "no", "n", "0", "f", ""})


def at(body: Any, path: str) -> Any:
    """The value at a dotted path; None where it is missing. An empty path is the body itself.

    A number is a place in a list, `links[rel=next]` the first element of a list whose field has that value; a
    key that itself has dots (`@odata.nextLink`) is found too.
    """
    if not path:
        return body
    if isinstance(body, Mapping) and path in body:
        return body[path]
    if "[" in path and (chosen := _CHOSEN.match(path)):
        return _chosen(body, *chosen.groups())
    name, _, rest = path.partition(".")
    if isinstance(body, Mapping):
        return at(body.get(name), rest) if name in body else None
    if isinstance(body, list) and name.isdigit() and int(name) < len(body):
        return at(body[int(name)], rest)
    return None


def has(body: Any, path: str) -> bool:
    """Whether the path leads anywhere, to null too."""
    if not path:
        return True
    if isinstance(body, Mapping) and path in body:
        return True
    around, _, name = path.rpartition(".")
    node = at(body, around)
    if isinstance(node, list):
        return name.isdigit() and int(name) < len(node)
    return isinstance(node, Mapping) and name in node


def placed(body: Any, path: list[str], value: Any) -> Any:
    """A copy of the JSON body with `value` at the path."""
    if not path:
        return value
    inner = body if isinstance(body, dict) else {}
    return {**inner, path[0]: placed(inner.get(path[0]), path[1:], value)}


def _chosen(body: Any, name: str, field: str, value: str, rest: str | None) -> Any:
    elements = at(body, name)
    for element in elements if isinstance(elements, list) else ():
        told = element.get(field) if isinstance(element, Mapping) else None
        if value.lower() in (str(one).lower() for one in (told if isinstance(told, list) else [told])):
            return at(element, rest or "")
    return None


def whole(value: Any) -> int | None:
    """A number that counts, also one that is written as text; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Exact):
        value = value.double
    if isinstance(value, int):
        return value if value >= 0 else None
    if isinstance(value, str) and (told := _COUNT.match(value)):
        return int("".join(filter(str.isdigit, told[1])))
    if isinstance(value, float) and value.is_integer() and value >= 0:
        return int(value)
    return None


def flag(value: Any) -> bool | None:
    """What a flag says, also one that is written as text or number; None where it is none."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | str):
        text = str(value).strip().lower()
        return True if text in _YES else False if text in _NO else None
    return None
