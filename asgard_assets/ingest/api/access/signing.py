"""Credentials that each request proves anew: HMAC signatures and HTTP Digest. Pure, but for the nonce that is counted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from asgard_assets.ingest.api.http.messages import Request
from asgard_assets.ingest.api.source.schemes import HmacAuth

_PARAMETER = re.compile(r"(\w+)\s*=\s*(?:\"((?:[^\"\\\\]|\\\\.)*)\"|([^\s,]+))")
_HASHES = {
    "MD5": hashlib.md5,
    "SHA-256": hashlib.sha256,
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
}
_SLOT = re.compile(r"\{(\w+)\}")


def signed(request: Request, how: HmacAuth, key: bytes, now: float) -> Request:
    """The request with its signature, made of what `how.sign` names."""
    parts, body = urlsplit(request.url), request.body or b""
    values = {
        "method": request.method.encode(),
        "url": request.url.encode(),
        "host": parts.netloc.encode(),
        "path": (parts.path or "/").encode(),
        "query": parts.query.encode(),
        "timestamp": str(int(now)).encode(),
        "body": body,
        "body_sha256": hashlib.sha256(body).hexdigest().encode(),
    }
    text, end = b"", 0
    for slot in _SLOT.finditer(how.sign):
        text += how.sign[end : slot.start()].encode() + values.get(slot.group(1), slot.group().encode())
        end = slot.end()
    text += how.sign[end:].encode()
    digest = hmac.new(key, text, how.algorithm).digest()
    shown = digest.hex() if how.encoding == "hex" else base64.b64encode(digest).decode()
    headers = {**request.headers, how.name: f"{how.prefix}{shown}"}
    if how.timestamp_name:
        headers[how.timestamp_name] = str(int(now))
    return request.changed(headers=headers)


class Digest:
    """Answers the challenges of one server (RFC 7616). `random` makes the client's nonce."""

    def __init__(
        self, username: str, password: str, random: Callable[[], str] = lambda: secrets.token_hex(8)
    ):
        self._username, self._password, self._random = username, password, random
        self._challenge: Mapping[str, str] = {}
        self._count = 0

    def challenged(self, header: str) -> bool:
        """Take over a WWW-Authenticate header; whether it is a challenge that can be answered."""
        at = header.lower().find("digest ")
        if at < 0:
            return False
        found = {name.lower(): one or other for name, one, other in _PARAMETER.findall(header[at + 7 :])}
        kind = found.get("algorithm", "MD5").upper().removesuffix("-SESS")
        if "nonce" not in found or kind not in _HASHES:
            return False
        self._challenge, self._count = found, 0
        return True

    def authorize(self, request: Request) -> Request:
        """The request with the answer to the last challenge; as it is where there was none."""
        told = self._challenge
        if not told:
            return request
        self._count += 1
        parts = urlsplit(request.url)
        uri = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        algorithm = told.get("algorithm", "MD5").upper()
        make = _HASHES[algorithm.removesuffix("-SESS")]

        def digest(*texts: str) -> str:
            return make(":".join(texts).encode()).hexdigest()

        realm, nonce, mine = told.get("realm", ""), told["nonce"], self._random()
        known = digest(self._username, realm, self._password)
        if algorithm.endswith("-SESS"):
            known = digest(known, nonce, mine)
        asked, count = digest(request.method, uri), f"{self._count:08x}"
        qop = "auth" if "auth" in re.split(r"[,\s]+", told.get("qop", "")) else ""
        answer = digest(known, nonce, count, mine, qop, asked) if qop else digest(known, nonce, asked)
        fields = [
            f'username="{self._username}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{answer}"',
            f"algorithm={told.get('algorithm', 'MD5')}",
        ]
        if qop:
            fields.append(f'qop=auth, nc={count}, cnonce="{mine}"')
        if "opaque" in told:
            fields.append(f'opaque="{told["opaque"]}"')
        return request.changed(headers={**request.headers, "Authorization": f"Digest {', '.join(fields)}"})
