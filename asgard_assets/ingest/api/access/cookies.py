"""Cookies of one walk, or of one row's request: kept as long as it lasts, for the origin that set them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from asgard_assets.ingest.api.access.auth import origin
from asgard_assets.ingest.api.http.messages import Request, Response, Send

Origin = tuple[str, str, int | None]
Jar = dict[Origin, dict[str, str]]

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_JAR: ContextVar[Jar | None] = ContextVar("cookies", default=None)


def fresh_jar() -> None:
    """Forget all cookies: another walk begins in this task."""
    _JAR.set({})


def _now() -> datetime:
    return datetime.now(UTC)


async def keep_cookies(request: Request, send: Send, now: Callable[[], datetime] = _now) -> Response:
    """The middleware: sends back what the same origin has set, as a browser does."""
    jar = _JAR.get()
    if jar is None:
        return await send(request)
    known = jar.setdefault(origin(request.url), {})
    if known:
        mine = next((value for name, value in request.headers.items() if name.lower() == "cookie"), "")
        pairs = [*([mine] if mine else []), *(f"{name}={value}" for name, value in known.items())]
        others = {name: value for name, value in request.headers.items() if name.lower() != "cookie"}
        request = request.changed(headers=others | {"Cookie": "; ".join(pairs)})
    response = await send(request)
    for line in response.headers.get("set-cookie", "").split("\n"):
        _take(known, line, now)
    return response


def _take(known: dict[str, str], line: str, now: Callable[[], datetime]) -> None:
    if _CONTROL.search(line):  # RFC 6265bis, 5.6: no cookie; sent back, it would end its header
        return
    pair, *attributes = line.split(";")
    name, equals, value = pair.strip().partition("=")
    if not equals or not name:
        return
    told = {key.strip().lower(): text.strip() for key, _, text in (a.partition("=") for a in attributes)}
    try:
        over = (
            int(told["max-age"]) <= 0
            if "max-age" in told
            else parsedate_to_datetime(told["expires"]) <= now()
        )
    except (KeyError, ValueError, TypeError, OverflowError):
        over = False
    if over:
        known.pop(name, None)
    else:
        known[name] = value
