"""Credentials on their way to the wire. They are added innermost: what is recorded never saw them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import quote, unquote_plus, urlsplit

from asgard_assets.ingest.api.access.signing import Digest, signed
from asgard_assets.ingest.api.http.messages import Request, Response, Send
from asgard_assets.ingest.api.rate.lease import Clock
from asgard_assets.ingest.api.source.addresses import allowed
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.paths import placed
from asgard_assets.ingest.api.source.schemes import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    DigestAuth,
    HmacAuth,
    NoAuth,
    OAuth2,
)
from asgard_assets.ingest.api.source.secrets import Redactor, Secret, resolve

_ASK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Credentials:
    """What goes on the wire: a header or a query parameter.

    `expires_in` are seconds from now on, None where nothing expires; `generation` grows by one with each
    renewal; `hidden` is what must not be readable anywhere; `renewed_at` are the statuses of answers after which others are
    asked for.
    """

    place: str = "none"
    name: str = ""
    secret: Secret = Secret("")
    hidden: tuple[Secret, ...] = ()
    generation: int = 0
    expires_in: float | None = None
    renewed_at: tuple[int, ...] = ()
    more: tuple[Credentials, ...] = ()  # further keys, sent beside

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON, for the service that hands them to the workers."""
        return {
            **self.__dict__,
            "secret": self.secret.value,
            "hidden": [secret.value for secret in self.hidden],
            "more": [one.to_wire() for one in self.more],
        }

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Credentials:
        hidden = tuple(Secret(value) for value in fields["hidden"])
        more = tuple(cls.from_wire(one) for one in fields["more"])
        told = {"secret": Secret(fields["secret"]), "hidden": hidden, "more": more}
        return cls(**{**fields, **told, "renewed_at": tuple(fields["renewed_at"])})


class Issuer(Protocol):
    """Hands out credentials. `rejected` is the generation that the API refused: a reason to renew."""

    async def credentials(self, rejected: int | None = None) -> Credentials: ...


@dataclass(frozen=True)
class Fixed:
    """Credentials that never change."""

    known: Credentials = field(default_factory=Credentials)

    async def credentials(self, rejected: int | None = None) -> Credentials:
        return self.known


def references(source: ApiSource) -> tuple[str, ...]:
    """What the source's secrets are read from, such as `env:CRM_TOKEN`."""
    return references_of(source.auth)


def references_of(auth: Auth | OAuth2) -> tuple[str, ...]:
    """The same of a login."""
    names = ("token", "password", "key", "client_secret", "refresh_token", "token_key")
    found = [getattr(auth, name, None) for name in names]
    found += [one.key for one in getattr(auth, "keys", ())]
    return tuple(reference for reference in found if reference is not None)


def with_keys(source: ApiSource, known: Credentials) -> Credentials:
    """The same with the source's further keys beside them."""
    keys = () if isinstance(source.auth, NoAuth) else source.auth.keys
    if not keys:
        return known
    secrets = [resolve(one.key, source.name) for one in keys]
    more = tuple(Credentials(one.place, one.name, s) for one, s in zip(keys, secrets, strict=True))
    return replace(known, more=more, hidden=(*known.hidden, *secrets))


def credentials(source: ApiSource) -> Credentials:
    """`_own` with the further keys."""
    return with_keys(source, _own(source))


def _own(source: ApiSource) -> Credentials:
    """The source's own credentials, of all kinds but OAuth2. Raises ConfigError where a secret is missing."""
    auth = source.auth
    if isinstance(auth, BearerAuth):
        token = resolve(auth.token, source.name)
        return Credentials("header", "Authorization", Secret(f"Bearer {token.value}"), (token,))
    if isinstance(auth, BasicAuth):
        password = resolve(auth.password, source.name)
        pair = base64.b64encode(f"{auth.username}:{password.value}".encode()).decode()
        return Credentials("header", "Authorization", Secret(f"Basic {pair}"), (password, Secret(pair)))
    if isinstance(auth, ApiKeyAuth):
        key = resolve(auth.key, source.name)
        return Credentials(auth.place, auth.name, key, (key,))
    if isinstance(auth, HmacAuth):
        key = resolve(auth.key, source.name)
        return Credentials("hmac", auth.name, key, (key,))
    if isinstance(auth, DigestAuth):
        password = resolve(auth.password, source.name)
        return Credentials("digest", auth.username, password, (password,))
    assert not isinstance(auth, OAuth2), "asgard_assets.ingest.api.access.oauth gets its tokens"
    return Credentials()


def authorize(request: Request, known: Credentials) -> Request:
    """The same request with the credentials in it."""
    if known.place == "header":
        return request.changed(headers={**request.headers, known.name: known.secret.value})
    if known.place == "query":
        pair = f"{quote(known.name, safe='')}={quote(known.secret.value, safe='')}"
        address, question, query = request.url.partition("?")
        if question and known.name in query:
            # Servers build the next address from the request's own, key included.
            query = "&".join(p for p in query.split("&") if unquote_plus(p.partition("=")[0]) != known.name)
        return request.changed(url=f"{address}?{query}&{pair}" if query else f"{address}?{pair}")
    if known.place == "cookie":
        before = request.headers.get("Cookie", "")
        pair = f"{known.name}={known.secret.value}"
        return request.changed(headers={**request.headers, "Cookie": f"{before}; {pair}" if before else pair})
    if known.place == "body":
        body = placed(json.loads(request.body or b"{}"), known.name.split("."), known.secret.value)
        headers = {"Content-Type": "application/json", **request.headers}
        return request.changed(headers=headers, body=json.dumps(body).encode())
    return request


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL: what credentials belong to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port


class Authenticator:
    """Two middlewares of one task: `authorize` adds the credentials, `renew` answers a refusal once.

    Whatever number of requests find them stale, credentials are asked for once. They go to the origin of
    `base_url` and nowhere else. Each set is told to the redactor before it is used.
    """

    def __init__(
        self,
        issuer: Issuer,
        base_url: str,
        redactor: Redactor,
        clock: Clock = time.monotonic,
        hosts: tuple[str, ...] = (),
        auth: Auth | None = None,
        wall: Clock = time.time,
    ):
        self._auth, self._wall = auth, wall
        self._digests: dict[tuple[tuple[str, str, int | None], int], Digest] = {}
        self._issuer, self._origin, self._redactor, self._clock = issuer, origin(base_url), redactor, clock
        self._hosts = hosts if "{" in base_url else ()
        self._base = f"{base_url.rstrip('/')}/"
        self._known: Credentials | None = None
        self._headers: tuple[Mapping[str, str], Credentials | None, Mapping[str, str]] = ({}, None, {})
        self._stale_at = 0.0
        self._asking: asyncio.Task[Credentials] | None = None
        self._told: int | None = None

    async def authorize(self, request: Request, send: Send) -> Response:
        known = self._known
        if known is None or self._clock() >= self._stale_at:
            known = await self.credentials(None)
        if known.place == "none" and not known.more:
            return await send(request)
        if not request.url.startswith(self._base) and not self._ours(request.url):
            return await send(request)
        request.trace.generation = known.generation
        for one in known.more:
            request = authorize(request, one)
        if known.place == "header":
            return await send(self._with_header(request, known))
        if known.place == "hmac":
            assert isinstance(self._auth, HmacAuth)
            return await send(signed(request, self._auth, known.secret.value.encode(), self._wall()))
        if known.place == "digest":
            return await self._digested(request, send, known)
        return await send(authorize(request, known))

    def _with_header(self, request: Request, known: Credentials) -> Request:
        """With the credentials' header. Requests that share their headers share these, so that nobody reads them twice."""
        before, credentials, headers = self._headers
        if before is not request.headers or credentials is not known:
            headers = {**request.headers, known.name: known.secret.value}
            self._headers = request.headers, known, headers
        return Request(request.id, request.method, request.url, headers, request.body, request.trace)

    async def _digested(self, request: Request, send: Send, known: Credentials) -> Response:
        """Send with the answer to the last challenge; a new challenge is answered once."""
        place = origin(request.url), known.generation
        digest = self._digests.setdefault(place, Digest(known.name, known.secret.value))
        response = await send(digest.authorize(request))
        if response.status == 401 and digest.challenged(response.headers.get("www-authenticate", "")):
            return await send(digest.authorize(request))
        return response

    def _ours(self, url: str) -> bool:
        """Whether credentials may go there: the origin of `base_url`, or a host that the source allows."""
        found = origin(url)
        if self._hosts:
            scheme = self._origin[0] if self._origin[0] in ("http", "https") else "https"
            return found[0] == scheme and allowed(url, self._hosts)
        return found == self._origin

    async def renew(self, request: Request, send: Send) -> Response:
        response = await send(request)
        used, known = request.trace.generation, self._known
        if used is None or known is None or response.status not in known.renewed_at:
            return response
        if known.generation == used:
            known = await self.credentials(used)
        # The same again means that a new token would not help.
        return response if known.generation == used else await send(request)

    async def credentials(self, rejected: int | None) -> Credentials:
        """Newly issued ones, asked for once however many want them; `rejected` is the generation that failed."""
        while True:
            if self._asking is None:
                self._asking, self._told = asyncio.create_task(self._issue(rejected)), rejected
                self._asking.add_done_callback(self._asked)
            told = self._told
            known = await asyncio.shield(self._asking)
            # Who asked before this rejection may have got just what was rejected.
            if rejected is None or told == rejected or known.generation != rejected:
                return known

    def _asked(self, task: asyncio.Task[Credentials]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # every waiter gets it; without one it is told by the next that asks

    async def _issue(self, rejected: int | None) -> Credentials:
        asked = self._clock()
        known = await self._issuer.credentials(rejected)
        self._redactor.add(secret.value for secret in known.hidden)
        life = known.expires_in
        self._stale_at = float("inf") if life is None else asked + max(_ASK_AGAIN_SECONDS, life)
        self._known = known
        return known
