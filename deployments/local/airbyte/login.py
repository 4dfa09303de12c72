"""Who may call the server: everybody, unless it was started with a user name or a client id."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Login:
    """Airbyte's own two ways: basic, and client credentials against a bearer token that soon expires."""

    username: str = ""
    password: str = ""
    client_id: str = ""
    client_secret: str = ""
    token_seconds: int = 180
    clock: Callable[[], float] = time.monotonic
    _tokens: dict[str, float] = field(default_factory=dict)

    def token(self, client_id: str, client_secret: str) -> str | None:
        """A new bearer token; None where the credentials are wrong."""
        if self.client_id and not _same(client_id, self.client_id, client_secret, self.client_secret):
            return None
        token = secrets.token_urlsafe(24)
        self._tokens[token] = self.clock() + self.token_seconds
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


def _same(name: str, known_name: str, word: str, known_word: str) -> bool:
    names = secrets.compare_digest(name.encode(), known_name.encode())
    return names and secrets.compare_digest(word.encode(), known_word.encode())
