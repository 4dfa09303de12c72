"""Logins of the web page: a cookie that names an account's key and its end, signed. A key that was revoked ends it too."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.gateway.accounts.roles import Caller
from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.settings import Settings

COOKIE = "asgard_session"
SECONDS = 8 * 3600
_TOKEN = re.compile(r"([0-9a-f]{12})\.([0-9]{1,12})\.([0-9a-f]{64})")
_KEY = re.compile(r"asgard_([0-9a-f]{12})_")
_KNOWN_SECONDS = 2.0


class Sessions:
    """Signs and reads cookies. `secret`: the same for all gateways behind one address."""

    def __init__(
        self, accounts: Accounts, secret: Callable[[], bytes], clock: Callable[[], float] = time.time
    ) -> None:
        self._accounts, self._secret, self._clock = accounts, secret, clock
        self._known: dict[str, tuple[float, Caller | None]] = {}

    def begin(self, key: str) -> str | None:
        """The cookie of who has this key; None where it is no valid one."""
        match = _KEY.match(key.strip())
        if match is None or self._accounts.caller(key.strip()) is None:
            return None
        told = f"{match[1]}.{int(self._clock()) + SECONDS}"
        return f"{told}.{self._sign(told)}"

    def caller(self, cookie: str) -> Caller | None:
        """Whose session it is; None where it has ended, its key was revoked, or it was made elsewhere."""
        match = _TOKEN.fullmatch(cookie)
        if match is None or not hmac.compare_digest(match[3], self._sign(f"{match[1]}.{match[2]}")):
            return None
        now = self._clock()
        if int(match[2]) <= now:
            return None
        known = self._known.get(match[1])
        if known is None or not 0 <= now - known[0] < _KNOWN_SECONDS:
            known = self._known[match[1]] = (now, self._accounts.owner_of(match[1]))
        return known[1]

    def form_token(self, cookie: str) -> str:
        """What every form of a session carries, so that no other page can send it."""
        return self._sign(f"form {cookie}")

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret(), text.encode(), hashlib.sha256).hexdigest()


def secret_of(settings: Settings) -> Callable[[], bytes]:
    """SECRET_KEY; without it, one that is made once in the home. Raises ConfigError in production, when it is asked for."""
    found: list[bytes] = []

    def secret() -> bytes:
        if not found:
            found.append(settings.secret_key.encode() or _own(settings))
        return found[0]

    return secret


def _own(settings: Settings) -> bytes:
    if settings.env == "production":
        raise ConfigError(
            "SECRET_KEY is not set: logins of the page would end with each pod. Set it to 32 random characters or more"
        )
    folder = settings.home.absolute() / "gateway"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = Path(folder) / "secret"
    if not path.exists() or not path.stat().st_size:
        _made_whole(path)
    return path.read_bytes()


def _made_whole(path: Path) -> None:
    """Write the secret, all of it or nothing: an empty one would let anybody sign. The first of several stays."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    try:
        if path.exists() and not path.stat().st_size:
            fresh.replace(path)
        else:
            os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
