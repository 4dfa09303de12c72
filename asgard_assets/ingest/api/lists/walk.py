"""The walk through one partition's pages: what a page holds, what comes after it, where its cursor ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from asgard_assets.ingest.api.http.decoding import Undecodable, decode
from asgard_assets.ingest.api.lists.detection import detect, find_items, shown
from asgard_assets.ingest.api.lists.pagination import MalformedPage, Page, at, first, following
from asgard_assets.ingest.api.source.forms import AutoPagination, PullForm
from asgard_assets.ingest.api.source.paths import has


class Walk:
    """Pages of one partition, in order. `pagination` is what was declared, or found on the first page.

    `path` is where a page's items are; None until it is found. `cursor` is the incremental cursor after the pages read so far; None where none was seen.
    """

    def __init__(self, form: PullForm, limit: int | None = None, pages: int | None = None):
        self._form, self._limit, self._pages = form, limit, pages
        self.pagination = form.pagination
        self.items = 0
        self._read: set[str] = set()
        self.cursor: Any = None
        self.path: str | None = form.items or (None if isinstance(form.pagination, AutoPagination) else "")

    @property
    def first(self) -> Page:
        return first(self.pagination)

    def read(
        self, page: Page, url: str, headers: Mapping[str, str], body: bytes, parsed: Any = None
    ) -> tuple[list[Any], Page | None]:
        """The page's items, and the next page. `parsed`: the body's value, where it is known. Raises MalformedPage."""
        form = self._form
        if parsed is None:
            try:
                parsed = decode(headers, body, form.decode)
            except Undecodable as error:
                raise MalformedPage(error.message) from error
        if self.path is None:
            self.path = find_items(parsed)
        items = self._items(parsed, self.path)
        if isinstance(self.pagination, AutoPagination):
            self.pagination = detect(url, headers, parsed, len(items))
        after = following(
            self.pagination,
            page,
            url,
            headers,
            parsed,
            len(items),
            items[-1] if items else None,
            form.same_origin,
        )
        if after is not None and after.number >= form.max_pages:
            raise MalformedPage(f"the walk did not end after {form.max_pages} pages (form.max_pages)")
        self._read.add(_place(page))
        if after is not None and _place(after) in self._read:
            raise MalformedPage(
                "the page names one as the next that was read before: the walk would never end"
            )
        self._advance(parsed, items)
        if self._limit is not None and self.items + len(items) >= self._limit:
            items, after = items[: self._limit - self.items], None
        self.items += len(items)
        if after is not None and after.number == self._pages:
            after = None
        return items, after

    def _items(self, parsed: Any, path: str) -> list[Any]:
        """The list at `path`. null is an empty list; one that is not there only where that was declared."""
        form = self._form
        found = at(parsed, path)
        if isinstance(found, list) and form.map_key is None:
            return found
        if found is None and (form.absent == "empty" or (path and has(parsed, path))):
            return []
        if isinstance(found, Mapping):
            if form.map_key is not None:
                return [
                    {form.map_key: name, **value}
                    if isinstance(value, Mapping)
                    else {form.map_key: name, "value": value}
                    for name, value in found.items()
                ]
            if isinstance(parsed, Mapping) and path and form.decode.format == "xml":
                return [found]  # one element does not show that there could be several
        told = f"there is no list at `{path or 'the body'}` of the page"
        if isinstance(found, Mapping):
            told += " but an object; if its values are the items, name the field for their keys: form.map_key"
        elif found is None and path:
            told += "; if that means an empty list, say form.absent: empty"
        raise MalformedPage(told)

    @property
    def found(self) -> str:
        """What was found on the first page; empty where it was declared."""
        return shown(self.pagination) if isinstance(self._form.pagination, AutoPagination) else ""

    def _advance(self, body: Any, items: list[Any]) -> None:
        how = self._form.incremental
        if how is None:
            return
        values = [at(body, how.body)] if how.body else [at(item, how.field or "") for item in items]
        for value in values:
            if value is not None and not isinstance(value, str | int | float):
                raise MalformedPage(
                    f"the cursor at `{how.body or how.field}` is no text or number: {value!r:.60}"
                )
            if value is not None:
                self.cursor = value if how.body else later(self.cursor, value)


def _place(page: Page) -> str:
    return page.url or json.dumps([page.query, page.body], sort_keys=True)


def later(one: Any, other: Any) -> Any:
    """The greater of two cursors; numbers by size, anything else as text (ISO 8601 sorts as time does)."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, int | float) and isinstance(other, int | float):
        return max(one, other)
    return max(one, other, key=str)
