"""Who may call the server: who can read the token that it makes at its start."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asgard_assets.settings import LOCAL_AIRBYTE_USER


@dataclass(frozen=True)
class Login:
    """Airbyte's own two ways: basic, and client credentials against a bearer token that soon expires.

    Without a user name and a client id it admits everybody, which only tests want.
    """

    username: str = ""
    password: str = ""
    client_id: str = ""
    client_secret: str = ""
    token_seconds: int = 180
    clock: Callable[[], float] = time.monotonic
    _tokens: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, token: str) -> Login:
        """Admits who has the token: as password, as client secret, or as bearer token."""
        user = LOCAL_AIRBYTE_USER
        return cls(user, token, user, token, _tokens={token: float("inf")})

    def token(self, client_id: str, client_secret: str) -> str | None:
        """A new bearer token; None where the credentials are wrong."""
        if self.client_id and not _same(client_id, self.client_id, client_secret, self.client_secret):
            return None
        token = secrets.token_urlsafe(24)
        now = self.clock()
        for old in [old for old, end in self._tokens.copy().items() if end <= now]:
            self._tokens.pop(old, None)
        self._tokens[token] = now + self.token_seconds
        return token

    def admits(self, authorization: str) -> bool:
        if not (self.username or self.client_id):
            return True
        kind, _, value = authorization.partition(" ")
        if kind.lower() == "bearer" and self.client_id:
            return self._tokens.get(value, 0) > self.clock()
        if kind.lower() == "basic" and self.username:
            try:
                user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return False
            return _same(user, self.username, password, self.password)
        return False


@contextmanager
def shown(token: str, path: Path) -> Iterator[None]:
    """Keep the token where this user's clients look for it, and nobody else can; remove it at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    os.replace(part, path)
    try:
        yield
    finally:
        if path.exists() and path.read_text() == token:
            path.unlink(missing_ok=True)


def _same(name: str, known_name: str, word: str, known_word: str) -> bool:
    given = (name.encode(errors="surrogatepass"), word.encode(errors="surrogatepass"))
    names = secrets.compare_digest(given[0], known_name.encode())
    return names and secrets.compare_digest(given[1], known_word.encode())
