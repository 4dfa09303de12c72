"""OAuth2 access tokens, got and kept fresh on the driver. No other process ever has the client's secret."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus, urlencode

from asgard_assets.ingest.api.access.auth import Credentials, Fixed, Issuer, credentials
from asgard_assets.ingest.api.access.rotation import Reader, Rotating, rotates
from asgard_assets.ingest.api.access.vault import LEASE_SECONDS, Kept, Vault, first_hash
from asgard_assets.ingest.api.http.client import transport
from asgard_assets.ingest.api.http.messages import Refused, Request, Response, TransportError, Unreachable
from asgard_assets.ingest.api.http.tls import wire_secrets
from asgard_assets.ingest.api.rate.lease import Clock, Sleep
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.schemes import OAuth2, OAuth2Password, OAuth2Refresh
from asgard_assets.ingest.api.source.secrets import Redactor, Secret, expand, resolve
from asgard_assets.lake import Lake

log = logging.getLogger(__name__)

_TRIES = 4
_BACKOFF_SECONDS = 0.25
_LIFE_SECONDS = 300.0  # of a token whose server does not say how long it lives
_REJECTIONS_SECONDS = 10.0  # a token that is refused so soon after a refusal is no reason for the next one
_FAILED_SECONDS = 2.0
_LEASE_LOOK_SECONDS = 0.5
_PROVING = frozenset({"mac", "dpop", "pop"})  # tokens that need more than to be shown


@dataclass(frozen=True)
class _Token:
    value: Secret
    generation: int
    born: float
    fresh_until: float
    valid_until: float


@dataclass(frozen=True)
class _Secrets:
    """What the client shows to the token endpoint, and further keys that go to the API."""

    client: Secret | None
    password: Secret | None
    first: Secret | None
    more: tuple[Credentials, ...]

    @classmethod
    def of(cls, auth: OAuth2, source: str) -> _Secrets:
        """Raises ConfigError where one is missing."""
        client, password, first = (
            resolve(told, source) if (told := getattr(auth, name, None)) else None
            for name in ("client_secret", "password", "refresh_token")
        )
        more = tuple(Credentials(key.place, key.name, resolve(key.key, source)) for key in auth.keys)
        return cls(client, password, first, more)


class TokenSource:
    """An issuer that asks the token endpoint.

    A token is renewed before it expires, while the old one still serves; one renewal at a time, however many
    ask. Raises Refused or Unreachable, which name the reference to check.
    """

    def __init__(
        self,
        source: str,
        auth: OAuth2,
        send: Callable[[Request], Awaitable[Response]],
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        vault: Vault | None = None,
        wall: Clock = time.time,
    ):
        self._vault, self._wall = vault, wall
        self._source, self._auth, self._send = source, auth, send
        self._clock, self._sleep = clock, sleep
        self._url = expand(auth.token_url, source)
        reference = getattr(auth, "client_secret", None)
        names = ("password", "refresh_token")
        self._references = " and ".join(
            filter(None, (reference, *(getattr(auth, name, None) for name in names)))
        )
        self._redactor, self._reader = Redactor(), Reader()
        self._know(_Secrets.of(auth, source))
        self._token: _Token | None = None
        self._refresh_token: str | None = None
        self._renewing: asyncio.Task[_Token] | None = None
        self._rejected_at = float("-inf")
        self._fetched = False
        self._failed: tuple[float, Refused | Unreachable] | None = None
        self.renewals = 0

    def _know(self, secrets: _Secrets) -> None:
        self._secrets = secrets
        self._redactor.add(s.value for s in (secrets.client, secrets.password, secrets.first) if s)

    async def credentials(self, rejected: int | None = None) -> Credentials:
        token, now = self._token, self._clock()
        wanted = token is None or now >= token.fresh_until
        if token is not None and rejected == token.generation:
            if self._renewing is not None:
                token, wanted = None, True  # another worker was refused first: its renewal is ours
            elif self._renews(token, now):
                self._rejected_at = now
                self._refresh_token = None  # of a session that the server may have ended
                token, wanted = None, True
        if wanted:
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew())
                self._renewing.add_done_callback(self._renewed)
            if token is None or now >= token.valid_until:
                token = await asyncio.shield(self._renewing)
        assert token is not None
        return Credentials(
            "header",
            "Authorization",
            Secret(f"Bearer {token.value.value}"),
            (token.value, *(one.secret for one in self._secrets.more)),
            token.generation,
            token.fresh_until - self._clock(),
            renewed_at=(401,),
            more=self._secrets.more,
        )

    def _renews(self, token: _Token, now: float) -> bool:
        """Whether a rejection is one of a token that was good once, not of whatever this client shows."""
        served = min(_REJECTIONS_SECONDS, (token.valid_until - token.born) / 4)
        return now >= min(self._rejected_at + _REJECTIONS_SECONDS, token.born + served)

    def _renewed(self, task: asyncio.Task[_Token]) -> None:
        self._renewing = None
        if not task.cancelled() and (error := task.exception()):
            log.warning("%s: no new token: %s", self._source, error)

    async def _renew(self) -> _Token:
        if self._failed and self._clock() < self._failed[0]:
            raise self._failed[1]
        try:
            self._token = await self._fetch()
        except (Refused, Unreachable) as error:
            self._failed = (self._clock() + _FAILED_SECONDS, error)
            raise
        self._failed = None
        self.renewals += 1
        return self._token

    async def _fetch(self) -> _Token:
        if self._fetched and rotates(self._auth):
            await self._read_again()
        self._fetched = True
        if self._secrets.first is not None:
            return await self._rotate(self._secrets.first)
        if self._refresh_token is not None:
            form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
            self._refresh_token = None
            asked, response = await self._post(form)
            if response.status == 200:
                return self._read(response, asked)
        asked, response = await self._post(self._grant())
        if response.status != 200:
            raise Refused(
                f"{self._source}: the token endpoint {self._auth.token_url} refused the client "
                f"({response.status}{self._told(response)}); check {self._references or 'auth.client_id'}",
                source=self._source,
                status=response.status,
            )
        return self._read(response, asked)

    async def _read_again(self) -> None:
        """Secrets may have been rotated since the last token."""

        def read() -> _Secrets:
            return _Secrets.of(self._auth, self._source)

        self._know(await self._reader.read(read, self._secrets, self._source))

    async def _rotate(self, first: Secret) -> _Token:
        """Use the kept refresh token, alone; or the access token that another run has just got with it."""
        assert self._vault is not None, "asgard_assets.ingest.api.access.oauth.issuer gives one"
        vault, used = self._vault, self._token.value.value if self._token else ""
        waited = 0.0
        while True:
            kept = await asyncio.to_thread(vault.read)
            if kept.first != first_hash(first):  # somebody logged in again
                kept = replace(kept, first=first_hash(first), refresh=first.value, access="", valid_until=0.0)
            left = kept.valid_until - self._wall()
            if kept.access and kept.access != used and left > self._auth.refresh_margin_seconds:
                return self._token_of(kept.access, self._clock(), left)
            leased = None
            if kept.leased_until <= self._wall():
                leased = await asyncio.to_thread(vault.lease, kept)
            if leased is not None:
                return await self._use(vault, leased)
            if waited >= 2 * LEASE_SECONDS:
                raise Unreachable(
                    f"{self._source}: another run has held the refresh token for {waited:g} s",
                    source=self._source,
                )
            await self._sleep(_LEASE_LOOK_SECONDS)
            waited += _LEASE_LOOK_SECONDS

    async def _use(self, vault: Vault, kept: Kept) -> _Token:
        form = {"grant_type": "refresh_token", "refresh_token": kept.refresh}
        self._redactor.add([kept.refresh])
        if self._auth.scopes:
            form["scope"] = " ".join(self._auth.scopes)
        try:
            asked, response = await self._post(form)
            if response.status != 200:
                raise Refused(
                    f"{self._source}: the token endpoint {self._auth.token_url} refused the refresh token "
                    f"({response.status}{self._told(response)}); log in again, and put the new refresh token into "
                    f"{self._references}",
                    source=self._source,
                    status=response.status,
                )
        except (Refused, Unreachable):
            await asyncio.to_thread(vault.keep, kept)  # the lease ends; the token is what it was
            raise
        token = self._read(response, asked)
        until = self._wall() + token.valid_until - self._clock()
        refresh = self._refresh_token or kept.refresh
        self._refresh_token = None
        kept = replace(kept, refresh=refresh, access=token.value.value, valid_until=until)
        if await asyncio.to_thread(vault.keep, kept) is None:
            log.warning("%s: the lease of the refresh token had ended before the new one came", self._source)
        return token

    def _token_of(self, value: str, asked: float, life: float) -> _Token:
        margin = min(self._auth.refresh_margin_seconds, life / 2)
        generation = self._token.generation + 1 if self._token else 1
        return _Token(Secret(value), generation, asked, asked + life - margin, asked + life)

    def _grant(self) -> dict[str, str]:
        auth = self._auth
        form = {"grant_type": "client_credentials"}
        if isinstance(auth, OAuth2Password):
            assert self._secrets.password is not None
            password = self._secrets.password.value
            form = {"grant_type": "password", "username": auth.username, "password": password}
        if auth.scopes:
            form["scope"] = " ".join(auth.scopes)
        if auth.audience:
            form["audience"] = auth.audience
        return form

    async def _post(self, form: Mapping[str, str]) -> tuple[float, Response]:
        """Ask the endpoint, again where it is not there or in trouble; and when that was."""
        auth, fields = self._auth, dict(form)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if self._secrets.client is not None and auth.client_auth == "basic":
            pair = f"{quote_plus(auth.client_id)}:{quote_plus(self._secrets.client.value)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            fields["client_id"] = auth.client_id
            if self._secrets.client is not None:
                fields["client_secret"] = self._secrets.client.value
        request = Request("token", "POST", self._url, headers, urlencode(fields).encode())
        said = ""
        for tries in range(_TRIES):
            if tries:
                await self._sleep(_BACKOFF_SECONDS * 2 ** (tries - 1))
            asked = self._clock()
            try:
                response = await self._send(request)
            except TransportError as error:
                said = self._redactor.text(error.message)
                continue
            if response.status != 429 and response.status < 500:
                return asked, response
            said = f"status {response.status}"
        raise Unreachable(
            f"{self._source}: the token endpoint {self._auth.token_url} gives no token ({said}); is it up?",
            source=self._source,
        )

    def _read(self, response: Response, asked: float) -> _Token:
        answer = _object(response.body)
        value = answer.get("access_token")
        kind = str(answer.get("token_type") or "bearer")
        proving = kind.lower() in _PROVING
        if not isinstance(value, str) or not value.isprintable() or not value or proving:
            raise Refused(
                f"{self._source}: the token endpoint {self._auth.token_url} answered without a bearer token; "
                "is auth.token_url right?",
                source=self._source,
                status=response.status,
            )
        if "bearer" not in kind.lower() and self.renewals == 0:
            log.warning("%s: the token's type is %s; it is sent as a bearer token", self._source, kind[:40])
        refresh = answer.get("refresh_token")
        self._refresh_token = refresh if isinstance(refresh, str) and refresh else None
        return self._token_of(value, asked, _seconds(answer.get("expires_in")))

    def _told(self, response: Response) -> str:
        """The error code and description of RFC 6749, 5.2; never the body as such."""
        answer = _object(response.body)
        told = [str(answer[name])[:200] for name in ("error", "error_description") if answer.get(name)]
        return self._redactor.text("".join(f", {text}" for text in told))


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(told: Any) -> float:
    try:
        life = float(told)
    except (TypeError, ValueError, OverflowError):
        return _LIFE_SECONDS
    return min(max(life, 1.0), 10 * 365 * 86400.0) if life == life else _LIFE_SECONDS


def issuer(source: ApiSource, lake: Lake | None = None) -> Issuer:
    """What hands out the source's credentials, of whatever kind. Raises ConfigError where a secret is missing."""
    if not isinstance(source.auth, OAuth2):
        return Rotating(source) if rotates(source.auth) else Fixed(credentials(source))

    secrets = wire_secrets(source)  # here: the token is asked for in another thread

    async def send(request: Request) -> Response:
        # Tokens are asked for so rarely that a connection need not be kept.
        async with transport(source, secrets) as client:
            return await client.send(request)

    vault = None
    if isinstance(source.auth, OAuth2Refresh):
        assert lake is not None, "a refresh token is kept in a lake"
        vault = Vault(lake, source.name, resolve(source.auth.token_key, source.name))
    return TokenSource(source.name, source.auth, send, vault=vault)
