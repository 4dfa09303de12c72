"""Which requests are heard at all: those of programs on this machine, not those of a web page somebody has open.

A page can reach a server on loopback: by its own name that is made to point there (so Host is checked), by a form
or a script (Origin), by an image or a frame (Sec-Fetch-Site). None of these can be forged by a page.
"""

from __future__ import annotations

import re
from email.message import Message
from http import HTTPStatus
from urllib.parse import urlsplit

MOST_BYTES = 16 << 20
"""Longest body of a request; manifests are far shorter."""

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
_PAGE = re.compile(r"GET /workspaces/[^/]+/connections/[^/]+/timeline")
_CALLED_LOCALLY = "call it as http://127.0.0.1 or http://localhost"


class Refused(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def check(method: str, path: str, headers: Message) -> None:
    """Raise Refused if a web page could have sent this."""
    hosts = headers.get_all("Host") or []
    if len(hosts) != 1 or _host(f"//{hosts[0]}") not in LOOPBACK:
        raise Refused(HTTPStatus.FORBIDDEN, f"Host {', '.join(hosts) or 'missing'}: {_CALLED_LOCALLY}")
    for origin in headers.get_all("Origin") or []:
        if origin.lower() != f"http://{hosts[0].lower()}":
            raise Refused(HTTPStatus.FORBIDDEN, f"web pages of {origin} may not use this server")
    sites = {site.strip().lower() for site in headers.get_all("Sec-Fetch-Site") or []}
    opened = (headers.get("Sec-Fetch-Dest") or "").strip().lower() == "document" and _PAGE.match(
        f"{method} {path}"
    )
    if sites - {"same-origin", "none"} and not opened:  # a link to a job's page may be followed
        raise Refused(HTTPStatus.FORBIDDEN, "other web pages may not use this server")


def length(headers: Message) -> int:
    """How long the body is. Raises Refused if it does not say so, or is too long."""
    if headers.get("Transfer-Encoding"):
        raise Refused(HTTPStatus.LENGTH_REQUIRED, "send the body with its Content-Length, not in chunks")
    given = set(headers.get_all("Content-Length") or ["0"])
    if len(given) != 1 or not re.fullmatch(r"[0-9]{1,18}", value := given.pop().strip()):
        raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length must be one number")
    if int(value) > MOST_BYTES:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {MOST_BYTES:,} bytes")
    return int(value)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
