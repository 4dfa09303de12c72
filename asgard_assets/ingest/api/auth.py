"""Auth as middleware. It is the innermost layer: what is recorded never saw the credentials."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from urllib.parse import quote

from asgard_assets.ingest.api.messages import Middleware, Request, Response, Send
from asgard_assets.ingest.api.models import ApiSource, BasicAuth, BearerAuth, NoAuth
from asgard_assets.ingest.api.secrets import Redactor, Secret, resolve


@dataclass(frozen=True)
class Credentials:
    """What goes on the wire: a header or a query parameter. Made on the driver, shipped to the workers."""

    place: str = "none"
    name: str = ""
    secret: Secret = Secret("")
    hidden: tuple[Secret, ...] = ()
    reference: str = ""

    @property
    def redactor(self) -> Redactor:
        return Redactor.of(secret.value for secret in self.hidden)


def credentials(source: ApiSource) -> Credentials:
    """Resolve the source's secrets. Raises ConfigError where one is missing."""
    auth = source.auth
    if isinstance(auth, NoAuth):
        return Credentials()
    if isinstance(auth, BearerAuth):
        token = resolve(auth.token, source.name)
        return Credentials("header", "Authorization", Secret(f"Bearer {token.value}"), (token,), auth.token)
    if isinstance(auth, BasicAuth):
        password = resolve(auth.password, source.name)
        pair = base64.b64encode(f"{auth.username}:{password.value}".encode()).decode()
        hidden = (password, Secret(pair))
        return Credentials("header", "Authorization", Secret(f"Basic {pair}"), hidden, auth.password)
    key = resolve(auth.key, source.name)
    hidden = (key, Secret(quote(key.value, safe="")))
    return Credentials(auth.place, auth.name, key, hidden, auth.key)


def authorize(request: Request, known: Credentials) -> Request:
    """The same request with the credentials in it."""
    if known.place == "header":
        return replace(request, headers={**request.headers, known.name: known.secret.value})
    if known.place == "query":
        joint = "&" if "?" in request.url else "?"
        pair = f"{quote(known.name, safe='')}={quote(known.secret.value, safe='')}"
        return replace(request, url=f"{request.url}{joint}{pair}")
    return request


def authenticating(known: Credentials) -> Middleware:
    """The middleware that adds `known` to every request."""

    async def authenticate(request: Request, send: Send) -> Response:
        return await send(authorize(request, known))

    return authenticate
