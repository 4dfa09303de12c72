"""From template and row to a request; and request ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode

from asgard_assets.ingest.api.http.messages import Request
from asgard_assets.ingest.api.lists.pagination import Page
from asgard_assets.ingest.api.source.addresses import checked_base, host_part
from asgard_assets.ingest.api.source.models import ApiSource, Endpoint
from asgard_assets.ingest.api.source.paths import placed
from asgard_assets.ingest.api.source.templates import (
    RenderError,
    Template,
    Values,
    render_json,
    text_of,
)
from asgard_assets.ingest.api.source.templates import value_of as slot_value
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, value_of, window_of

_DOTS = frozenset({"", ".", ".."})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_NO_PAGE = Page()


def partition_values(key: str, calendar: Calendar | None = None, second: str = "") -> dict[str, str]:
    """What templates know about a partition; start and end are instants, written in UTC, the end excluded. `second`: the column
    whose value the key has too."""
    window = (calendar or Settings().calendar()).window(window_of(key))
    return {
        **({second: value_of(key)} if second else {}),
        "key": window.key,
        "start": f"{window.start:%Y-%m-%dT%H:%M:%SZ}",
        "end": f"{window.end:%Y-%m-%dT%H:%M:%SZ}",
    }


def fingerprint(source: ApiSource) -> str:
    """Hash of what all requests of the source have in common; part of every request id."""
    return hashlib.sha256(json.dumps(source.identity, sort_keys=True).encode()).hexdigest()


def page_id(common: str, day: str, page: Page, row_key: str = "{}") -> str:
    """Request id of a page of a pull source (row-driven ids are made by the ledger, the same way)."""
    marker = page.url or json.dumps({**page.query, **page.body}, sort_keys=True)
    if page.step:  # addresses of files are other ones each time
        marker = json.dumps([page.step, page.job.get("file", 0), page.job.get("run", "")])
    parent = "" if row_key == "{}" else f"{row_key}\n"  # whose list it is a page of
    return hashlib.sha256(f"{common}\n{day}\n{parent}{marker}".encode()).hexdigest()


class Renderer:
    """Makes requests of rows and pages. `base_url` has its references filled in."""

    def __init__(self, source: ApiSource, base_url: str, endpoint: Endpoint | None = None):
        endpoint = endpoint or source.endpoint
        self._method, self._base = endpoint.method, base_url.rstrip("/")
        self._path = Template.parse(endpoint.path)
        self._by_row = Template.parse(self._base) if endpoint.by_row else None
        self._hosts = endpoint.hosts
        self._query = [
            (name, Template.parse(text))
            for name, texts in endpoint.query.items()
            for text in ((texts,) if isinstance(texts, str) else texts)
        ]
        # Where the template itself says where page parameters stand, they stand nowhere else.
        self._paged = any(root == "page" for root, _ in endpoint.fields())
        self._headers = {name: Template.parse(text) for name, text in endpoint.headers.items()}
        # Headers without placeholders are one mapping for all requests; a team's own middleware may write into it.
        fixed = not (source.middleware or any(template.fields for template in self._headers.values()))
        self._fixed = {n: t.render({}) for n, t in self._headers.items()} if fixed else None
        self._body = endpoint.body
        self._required = source.rows.required if source.rows else ()
        self._written = self._method not in _SAFE_METHODS

    def request(
        self,
        request_id: str,
        day: Mapping[str, str],
        row: Mapping[str, Any],
        page: Page | None = None,
        cursor: Mapping[str, Any] | None = None,
    ) -> tuple[Request, dict[str, str | list[str]]]:
        """The request and its query parameters. Raises RenderError where the row has a null that is needed."""
        if self._required and (missing := [name for name in self._required if row.get(name) in (None, "")]):
            raise RenderError(
                f"the row has no {', '.join(missing)}, which form.rows.required asks for",
                field=("row", missing[0]),
            )
        values: Values = {
            "row": row, "partition": day, "cursor": cursor or {}, "page": page.values if page else {},
            "job": page.job if page else {},
        }  # fmt: skip
        asked = page if page and not self._paged else _NO_PAGE
        has_body = self._body is not None or asked.body
        headers = self._fixed
        if headers is None or has_body or self._written:
            headers = {n: t.render(values) for n, t in self._headers.items() if not t.absent(values)}
        params = self._params(values) if self._query else {}
        if asked.query:
            params |= asked.query
        url = page.url if page else None
        if url is None:
            url = (self._base if self._by_row is None else self._base_of(values)) + self._path_of(values)
            if params:
                url = f"{url}{'&' if '?' in url else '?'}{urlencode(params, doseq=True)}"
        body = None
        if has_body:
            filled = render_json(self._body, values)
            for path, value in asked.body.items():
                filled = placed(filled, path.split("."), value)
            body = json.dumps(filled).encode()
            headers.setdefault("Content-Type", "application/json")
        if self._written:
            # At-least-once delivery: the receiver can tell a repeated request by this.
            headers.setdefault("Idempotency-Key", request_id)
        return Request(request_id, self._method, url, headers, body), params

    def _params(self, values: Values) -> dict[str, str | list[str]]:
        """Query parameters by name; a list where one comes more than once."""
        params: dict[str, str | list[str]] = {}
        for name, template in self._query:
            if template.absent(values):
                continue
            several = template.values(values)
            text = template.render(values) if several is None else several
            if name in params:
                before = params[name]
                params[name] = [
                    *([before] if isinstance(before, str) else before),
                    *([text] if isinstance(text, str) else text),
                ]
            else:
                params[name] = text
        return params

    def _path_of(self, values: Values) -> str:
        """The path. Raises RenderError for a value that servers, or what stands before them, take for another place."""
        path = self._path
        if path.alone is not None:
            before, slot, after = path.alone
            text = text_of(slot_value(slot, values))
            if text.isascii() and text.isalnum():
                return before + text + after
        odd: list[str] = []

        def placed(text: str) -> str:
            if text in _DOTS:
                odd.append(text)
            return _quoted(text)

        shown = path.render(values, placed)
        if odd:
            plain = path.render(values, lambda _: "x")
            pairs = zip(shown.partition("?")[0].split("/"), plain.partition("?")[0].split("/"), strict=True)
            if any(unquote(now) in _DOTS and then not in _DOTS for now, then in pairs):
                raise RenderError(
                    f"endpoint.path: with a value {odd[0]!r} it would ask for another resource; no request is made of this row",
                    field=next((p.root, p.name) for p in path.parts if not isinstance(p, str)),
                )
        return shown

    def _base_of(self, values: Values) -> str:
        """The base address that a row names. Raises RenderError where it is none that is allowed."""
        assert self._by_row is not None
        whole = not isinstance(self._by_row.parts[0], str)  # the row names all of it, not only a host
        try:
            return checked_base(self._by_row.render(values, str if whole else host_part), self._hosts)
        except ValueError as error:
            raise RenderError(f"endpoint.base_url: {error}", field=("row", "base_url")) from error


def _quoted(text: str) -> str:
    # A value may not leave its place in the path: "..", "?" and "/" included.
    if text.isascii() and text.isalnum():
        return text
    return quote(text, safe="").replace("..", "%2E%2E")
