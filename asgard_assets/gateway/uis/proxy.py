"""Hands requests on to the other pages, for who has logged in and may do what they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

import aiohttp
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from yarl import URL

from asgard_assets.gateway.accounts.roles import EVERYWHERE, ROLES, Caller, May, NotAllowedError
from asgard_assets.gateway.accounts.sessions import COOKIE, Sessions
from asgard_assets.gateway.problems import RefusedError
from asgard_assets.gateway.uis.paths import ui_of
from asgard_assets.gateway.uis.rules import needed
from asgard_assets.gateway.uis.socket import Socket
from asgard_assets.settings import UiName

_OF_THE_CONNECTION = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
# The caller's own key and where they come from are the gateway's business: it has checked them.
_KEPT_HERE = _OF_THE_CONNECTION | {
    "host",
    "authorization",
    "cookie",
    "origin",
    "referer",
    "content-length",
    "forwarded",
}
_KEPT_BACK = _OF_THE_CONNECTION | {
    "set-cookie",
    "location",
    "access-control-allow-origin",
    "access-control-allow-credentials",
}
_TIMES = aiohttp.ClientTimeout(total=None, connect=10, sock_read=300)


class Uis:
    """ASGI middleware behind the door. `uis`: where each page is served, below its own name."""

    def __init__(self, app: ASGIApp, uis: Mapping[UiName, str], sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions
        self._uis: dict[UiName, str] = {
            name: address.rstrip("/").removesuffix(f"/{name}") for name, address in uis.items()
        }
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                if self._session is not None:
                    await self._session.close()
            return
        name = ui_of(scope["path"])
        if name is None or name not in self._uis:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(name, scope, receive, send)
        else:
            await self._page(name, scope, receive, send)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=_TIMES, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._session

    async def _page(self, name: UiName, scope: Scope, receive: Receive, send: Send) -> None:
        request, address = Request(scope, receive), self._uis[name]
        caller = everywhere(scope["state"]["caller"])
        kind = request.headers.get("content-type", "")
        asked = needed(name, request.method, scope["path"], request.url.query, kind, await request.body())
        state = scope["state"]
        state["action"], state["told"] = asked.action, asked.told
        if asked.action not in ROLES[caller.role]:
            detail = _refusal(caller, asked.action)
            if not asked.told:
                raise RefusedError(403, detail)
            await JSONResponse({"data": None, "errors": [{"message": detail}]}, 403)(scope, receive, send)
            return
        headers = _sent(request.headers)
        try:
            async with self._client().request(
                request.method, _url(address, scope), data=asked.body or None, headers=headers, allow_redirects=False
            ) as answer:  # fmt: skip
                told = _answered(answer, address, scope["path"])
                await send({"type": "http.response.start", "status": answer.status, "headers": told})
                async for part in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except (aiohttp.ClientError, TimeoutError) as error:
            detail = f"the pages of {name} do not answer (ASGARD_UIS); try again in a while"
            raise RefusedError(503, detail) from error

    async def _socket(self, name: UiName, scope: Scope, receive: Receive, send: Send) -> None:
        caller = everywhere(scope["state"]["caller"])
        if name != "dagster":
            raise RefusedError(404, f"{name} has no sockets")
        await Socket(self._client(), _url(self._uis[name], scope), caller, self._known).run(
            scope, receive, send
        )

    def _known(self, scope: Scope) -> bool:
        """Whether the session, by which a socket was opened, goes on. One that a key opened is asked for once."""
        value = _values(Headers(scope=scope).get("cookie", "")).get(COOKIE)
        return value is None or self._sessions.caller(value) is not None


def everywhere(caller: Caller) -> Caller:
    """Raises RefusedError where the account belongs to single workspaces: these pages show all of them."""
    if EVERYWHERE not in caller.workspaces:
        raise RefusedError(
            403, f"the account {caller.name} belongs to single workspaces, and this page shows all of them"
        )
    return caller


def _refusal(caller: Caller, action: May) -> str:
    try:
        caller.must(action)
    except NotAllowedError as error:
        return str(error)
    return "not allowed"


def _url(address: str, scope: Scope) -> URL:
    raw = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"].decode("latin-1")
    return URL(f"{address}{raw.decode('latin-1')}{'?' if query else ''}{query}", encoded=True)


def _answered(answer: aiohttp.ClientResponse, address: str, path: str) -> list[tuple[bytes, bytes]]:
    """Headers of the answer. Files of runs are shown without their scripts: others have written them."""
    found = [(key, value) for key, value in answer.headers.items() if key.lower() not in _KEPT_BACK]
    if place := answer.headers.get("location"):
        parts = urlsplit(place)
        own = not parts.netloc or parts.netloc == urlsplit(address).netloc
        local = parts._replace(scheme="", netloc="").geturl() if own else ""
        found += [("location", local)] if local.startswith("/") else []
    if "artifact" in path:
        found = [(key, value) for key, value in found if key.lower() != "content-security-policy"]
        found.append(("content-security-policy", "sandbox"))
    return [(key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in found]


def _sent(headers: Headers) -> list[tuple[str, str]]:
    """Headers of the request, with the page's own cookies but without the session."""
    found = [
        (key, value)
        for key, value in headers.items()
        if key not in _KEPT_HERE and not key.startswith(("sec-", "x-forwarded-"))
    ]
    kept = {name: value for name, value in _values(headers.get("cookie", "")).items() if name != COOKIE}
    cookies = "; ".join(f"{name}={value}" for name, value in kept.items())
    return [*found, ("cookie", cookies)] if cookies else found


def _values(cookie: str) -> dict[str, str]:
    try:
        return {name: one.value for name, one in SimpleCookie(cookie).items()}
    except CookieError:
        return {}
