"""Dotted paths into JSON, such as `meta.pages` or `errors.0.message`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def at(body: Any, path: str) -> Any:
    """The value at a dotted path; None where it is missing. An empty path is the body itself.

    A number is a place in a list; a key that itself has dots (`@odata.nextLink`) is found too.
    """
    if not path:
        return body
    if isinstance(body, Mapping) and path in body:
        return body[path]
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
