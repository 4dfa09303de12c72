"""A list endpoint without a network: a function of the request's parameters, walked as the engine walks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import TypeAdapter

from asgard_assets.ingest.api.lists.pagination import MalformedPage
from asgard_assets.ingest.api.lists.walk import Walk
from asgard_assets.ingest.api.source.forms import PullForm

URL = "https://api.test/items"

Answer = Callable[[dict[str, str]], Any]
"""Parameters to a body, or to (status, headers, body)."""


@dataclass
class Walked:
    """What a walk came to: its items, its walk, the parameters of its requests, and why it failed."""

    walk: Walk
    items: list[Any] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    error: str = ""


def walked(answer: Answer, method: str = "GET", query: dict[str, str] | None = None, **form: Any) -> Walked:
    """Walk the list to its end, with the fixed parameters `query`."""
    told = Walked(Walk(TypeAdapter(PullForm).validate_python({"type": "pull", **form})))
    page = told.walk.first
    while page is not None and not told.error:
        url = page.url or f"{URL}?{urlencode({**(query or {}), **page.query})}"
        sent = dict(parse_qsl(urlsplit(url).query))
        told.asked.append(sent)
        answered = answer(sent | {name: str(value) for name, value in page.body.items()})
        status, headers, body = answered if isinstance(answered, tuple) else (200, {}, answered)
        try:
            if status >= 300:
                if not told.walk.past_the_end(page, status):
                    told.error = f"status {status}"
                page = None
                continue
            text = body if isinstance(body, bytes) else json.dumps(body).encode()
            lower = {name.lower(): value for name, value in headers.items()}
            items, page = told.walk.read(page, url, lower, text, status=status, method=method)
            told.items += items
        except MalformedPage as error:
            told.error = str(error)
    return told


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    """Items 1 … count."""
    return [{"id": number, **more} for number in range(1, count + 1)]


def ids(told: Walked) -> list[int]:
    return sorted({item["id"] for item in told.items})
