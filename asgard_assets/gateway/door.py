"""What every request passes first: its id, where it may come from, how long it may be. Then the log and the ETag."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgard_assets.gateway.accounts.gate import Gate
from asgard_assets.gateway.accounts.roles import NOBODY, Caller, May
from asgard_assets.gateway.accounts.sessions import COOKIE, Sessions
from asgard_assets.gateway.pages.render import LOGIN, STYLE, is_page
from asgard_assets.gateway.problems import NO_DATABASE, RefusedError, problem

access = logging.getLogger("asgard.access")
log = logging.getLogger(__name__)
LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
MOST_BYTES = 4 << 20
_READS = frozenset(("GET", "HEAD", "OPTIONS"))
_FOR_ALL = frozenset(("/health", "/health/ready", LOGIN, STYLE))
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Door:
    """ASGI middleware. `hosts`: names that a request may ask for while nobody has to log in."""

    def __init__(
        self, app: ASGIApp, gate: Gate, hosts: Iterable[str] = LOOPBACK, sessions: Sessions | None = None
    ) -> None:
        self._app, self._gate, self._hosts, self._sessions = app, gate, frozenset(hosts), sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, began = Headers(scope=scope), time.perf_counter()
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id, headers.get("if-none-match"), scope["method"])
        try:
            self._check(scope, headers)
            self._let_in(scope, headers)
            await self._app(scope, _limited(receive), answer)
        except RefusedError as error:
            await self._say(scope, receive, answer, error.status, error.detail, error.headers)
        except OperationalError as error:
            log.error("request %s: the gateway's database: %s", request_id, str(error.orig).splitlines()[0])
            await self._say(scope, receive, answer, 503, NO_DATABASE)
        except Exception:
            log.exception("request %s failed", request_id)
            detail = f"an error in the server; its log has the reason under request {request_id}"
            await self._say(scope, receive, answer, 500, detail)
        _note(scope, answer.status, request_id, time.perf_counter() - began)
        if scope["method"] not in _READS and not _only_read(scope, answer.status):
            await run_in_threadpool(self._audit, scope, answer.status, request_id)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A socket passes the same checks as a request; one that is refused is never opened."""
        headers, request_id = Headers(scope=scope), secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        scope["method"] = "SOCKET"
        try:
            self._check(scope, headers)
            self._let_in(scope, headers)
            await self._app(scope, receive, send)
            status = 101
        except (RefusedError, OperationalError) as error:
            status, detail = (
                (error.status, error.detail) if isinstance(error, RefusedError) else (503, NO_DATABASE)
            )
            await send({"type": "websocket.close", "code": 1008, "reason": detail[:100]})
        _note(scope, status, request_id, 0.0)

    def _let_in(self, scope: Scope, headers: Headers) -> None:
        """Put the caller into the request's state. Raises RefusedError; only whether we live is told to all."""
        if scope["path"] in _FOR_ALL:
            scope["state"]["caller"] = NOBODY
            return
        caller = self._by_cookie(scope, headers) or self._gate.caller(headers.get("authorization", ""))
        scope["state"] |= {"caller": caller, "account": caller.name}

    def _by_cookie(self, scope: Scope, headers: Headers) -> Caller | None:
        """Who has logged in to the pages; the API itself takes no cookies."""
        if self._sessions is None or self._gate.open or not is_page(scope["path"]):
            return None
        found = self._sessions.caller(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))
        if found is not None:
            self._gate.count(found.name)
        return found

    def _audit(self, scope: Scope, status: int, request_id: str) -> None:
        account, action = scope["state"].get("account", ""), f"{scope['method']} {scope['path']}"
        if told := scope["state"].get("told"):
            action = f"{action} {told}"
        try:
            self._gate.accounts.note(account, request_id, action, status)
        except (
            OperationalError
        ) as error:  # what was done is done; this line is all that is left to tell of it
            reason = str(error.orig).splitlines()[0]
            log.error("not in the audit log: %s %s by %s: %s", action, status, account or "nobody", reason)

    async def _say(
        self, scope: Scope, receive: Receive, answer: _Answer, status: int, detail: str,
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        if not answer.started:
            path, request_id = scope["path"], scope["state"]["request_id"]
            await problem(path, request_id, status, detail, headers=headers)(scope, receive, answer)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raises RefusedError where a web page could have sent this, or the body is too long."""
        host = headers.get("host", "")
        if self._gate.open and _name(f"//{host}") not in self._hosts:
            raise RefusedError(
                403, f"Host {host[:100] or 'missing'}: call this server by its own name, such as 127.0.0.1"
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit_netloc(origin) != host.lower():
            raise RefusedError(403, f"web pages of {origin[:100]} may not use this server")
        followed = (
            scope["method"] == "GET"
            and headers.get("sec-fetch-mode") == "navigate"
            and is_page(scope["path"])
        )
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not followed:
            raise RefusedError(403, "other web pages may not use this server")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            raise RefusedError(413, f"a body may have {MOST_BYTES:,} bytes")


class _Answer:
    """`send`, with the request's id in the headers, and 304 where the client has this answer already."""

    def __init__(self, send: Send, request_id: str, known: str | None, method: str) -> None:
        self._send, self._request_id, self._known, self._method = send, request_id, known, method
        self._start: Message | None = None
        self.status, self.started = 0, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers["X-Request-ID"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Cache-Control", "no-store" if self._method != "GET" else "no-cache")
            self._start = message
            return
        if self._start is not None:
            start, self._start, self.started = self._start, None, True
            if message["type"] == "http.response.body" and self._has_tag(start, message):
                headers = MutableHeaders(raw=start["headers"])
                tag = headers.get("etag") or f'"{hashlib.sha256(message["body"]).hexdigest()[:16]}"'
                headers["ETag"] = tag
                if self._known and tag in (part.strip() for part in self._known.split(",")):
                    self.status = start["status"] = 304
                    del headers["content-length"]
                    message = {"type": "http.response.body", "body": b""}
            await self._send(start)
        await self._send(message)

    def _has_tag(self, start: Message, body: Message) -> bool:
        return (
            self._method == "GET"
            and start["status"] == 200
            and not body.get("more_body")
            and bool(body.get("body"))
        )


def _only_read(scope: Scope, status: int) -> bool:
    """Whether a POST has changed nothing: it asked for predictions, or for features."""
    return scope["state"].get("action") is May.read and status < 400


def _limited(receive: Receive) -> Receive:
    """A body that is sent in chunks is counted as it comes."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MOST_BYTES:
            raise RefusedError(413, f"a body may have {MOST_BYTES:,} bytes")
        return message

    return counted


def _note(scope: Scope, status: int, request_id: str, seconds: float) -> None:
    """One line of JSON a request. Queries are left out: they may hold what is nobody's business."""
    told: dict[str, Any] = {
        "request_id": request_id, "method": scope["method"], "path": scope["path"][:500], "status": status,
        "ms": round(seconds * 1000, 1), "account": scope["state"].get("account", ""),
    }  # fmt: skip
    access.info(json.dumps(told))


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def urlsplit_netloc(origin: str) -> str | None:
    """Host and port of an Origin, in lower case; None where it is none."""
    try:
        place = urlsplit(origin)
    except ValueError:
        return None
    return place.netloc.lower() if place.scheme in ("http", "https") else None
