"""The items of a page: a list, or an object whose values are the items. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asgard_assets.ingest.api.lists.pagination import MalformedPage
from asgard_assets.ingest.api.source.forms import PullForm
from asgard_assets.ingest.api.source.paths import at, has

MAP_KEY = "map_key"
"""The field with each value's name, where the source does not name one."""


def items_at(form: PullForm, parsed: Any, path: str) -> list[Any]:
    """The items at `path`. null is an empty list; one that is not there only where that was declared.

    Raises MalformedPage.
    """
    found = at(parsed, path)
    if isinstance(found, list) and form.map_key is None:
        return found
    if found is None and (form.absent == "empty" or (path and has(parsed, path))):
        return []
    if isinstance(found, Mapping):
        if form.map_key is not None:
            return named(found, form.map_key)
        if isinstance(parsed, Mapping) and path and form.decode.format == "xml":
            return [found]  # one element does not show that there could be several
        if is_map(form, found, path):
            return named(found, MAP_KEY)
    told = f"there is no list at `{path or 'the body'}` of the page"
    others = list(_lists(parsed)) if form.map_key is None else []
    if others:
        told += f", but at {', '.join(others[:5])}; name the right one in form.items"
    if isinstance(found, Mapping) and not others:
        told += " but an object; if its values are the items, name the field for their keys: form.map_key"
    elif found is None and path:
        told += "; if that means an empty list, say form.absent: empty"
    raise MalformedPage(told)


def _lists(node: Any, place: str = "", depth: int = 2) -> Iterator[str]:
    """Paths of the lists of objects in a body."""
    for name, value in node.items() if isinstance(node, Mapping) else ():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield f"`{place}{name}`"
        elif depth:
            yield from _lists(value, f"{place}{name}.", depth - 1)


def is_map(form: PullForm, found: Any, path: str) -> bool:
    """Whether the object plainly holds the items: each of its values has the declared key, and it has none itself."""
    if form.map_key is not None or not form.key or not isinstance(found, Mapping):
        return False
    if len(found) < (1 if path else 2) or any(has(found, name) for name in form.key):
        return False
    return all(
        isinstance(value, Mapping) and all(has(value, key) for key in form.key) for value in found.values()
    )


def named(found: Mapping[str, Any], field: str) -> list[Any]:
    """The values with their names. Raises MalformedPage where a value has another text in that field."""
    for name, value in found.items():
        if isinstance(value, Mapping) and str(value.get(field, name)) != name:
            raise MalformedPage(
                f"the item `{name}` has a field `{field}` of its own, {value[field]!r:.60}; call the field for the "
                "names otherwise: form.map_key"
            )
    return [
        {field: name, **value} if isinstance(value, Mapping) else {field: name, "value": value}
        for name, value in found.items()
    ]
