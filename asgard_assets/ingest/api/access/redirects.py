"""Following redirects, hop by hop: each is a request of its own, with its own turn and its own credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from asgard_assets.errors import SourceError, Terminal
from asgard_assets.ingest.api.access.auth import origin
from asgard_assets.ingest.api.http.messages import Request, Response, Send
from asgard_assets.ingest.api.source.addresses import elsewhere

_FOLLOWED = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})


class BadRedirect(Terminal, SourceError):
    """A redirect leads nowhere that may be gone to."""


# What a request says of itself and not of us; nothing else goes along to another origin, whatever its name.
_HARMLESS = frozenset(
    {
        "accept",
        "accept-language",
        "accept-encoding",
        "user-agent",
        "content-type",
        "content-length",
        "idempotency-key",
    }
)


class Redirecting:
    """The middleware. An answer leads to another origin only where the YAML names its host, in `hosts`; so does the
    address of a file that an answer names, with `home`. Nothing but what says how to answer is sent there, and no client
    certificate: with one, `alone`, it is refused. Raises BadRedirect, which says why.
    """

    def __init__(self, most: int, alone: bool = False, hosts: tuple[str, ...] = (), home: str | None = None):
        self._most, self._alone, self._hosts, self._home = most, alone, hosts, home
        self._at_home = "/".join((home or "").split("/", 3)[:3]) + "/"

    async def __call__(self, request: Request, send: Send) -> Response:
        if self._home is not None and not request.url.startswith(self._at_home) and self._leaves(request.url):
            raise BadRedirect(_not_there("an answer", request.url))
        response = await send(request)
        if response.status not in _FOLLOWED or "location" not in response.headers or not self._most:
            return response
        sent = request
        for _ in range(self._most):
            sent = self._next(sent, response)
            response = await send(sent)
            if response.status not in _FOLLOWED or "location" not in response.headers:
                response.url = response.url or sent.url
                return response
        raise BadRedirect(
            f"more than {self._most} redirects (endpoint.redirects); the last was {response.status}"
        )

    def _leaves(self, url: str, home: str = "") -> bool:
        try:
            return elsewhere(url, self._home or home, self._hosts)
        except ValueError:
            return True

    def _next(self, sent: Request, response: Response) -> Request:
        try:
            target = urljoin(sent.url, response.headers["location"])
            parts = urlsplit(target)
            leaves = origin(target) != origin(sent.url)
        except ValueError:
            raise BadRedirect(f"status {response.status}: its Location is no address") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadRedirect(
                f"status {response.status} leads to {parts.scheme or 'no'}: address; it is not followed"
            )
        if parts.scheme == "http" and urlsplit(sent.url).scheme == "https":
            raise BadRedirect(f"status {response.status} leads from https to http; it is not followed")
        if leaves and self._alone:
            raise BadRedirect(
                f"status {response.status} leads to another origin ({parts.hostname}), which must not see the "
                "client certificate; it is not followed"
            )
        if leaves and self._leaves(target, sent.url):
            raise BadRedirect(_not_there(f"status {response.status}", target))
        if not target.isascii() or not target.isprintable() or " " in target:
            raise BadRedirect(f"status {response.status}: its Location is not encoded as an address")
        headers = {k: v for k, v in sent.headers.items() if not leaves or k.lower() in _HARMLESS}
        target = target.partition("#")[0]
        if response.status in _KEEP_METHOD or sent.method in ("GET", "HEAD"):
            if leaves and sent.body is not None:
                raise BadRedirect(
                    f"status {response.status} would carry the body to another origin ({parts.hostname}); "
                    "it is not followed"
                )
            return replace(sent, url=target, headers=headers)
        return replace(sent, method="GET", url=target, headers=_without_body(headers), body=None)


def _not_there(what: str, target: str) -> str:
    host = urlsplit(target).netloc.rpartition("@")[2]
    return (
        f"{what} leads to another origin ({host}); it is not followed. If it belongs to the API, name it: "
        f"endpoint.leads_to: [{host}]"
    )


def _without_body(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        k: v
        for k, v in headers.items()
        if k.lower() not in ("content-type", "content-length", "idempotency-key")
    }
