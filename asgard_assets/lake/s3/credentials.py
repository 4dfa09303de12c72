"""The keys for S3: one source for every engine of this process, always fresh.

botocore's own chain finds them: static keys and session tokens in the environment, profiles, web identity,
container and instance roles. Keys that run out are fetched again before they do; keys that the store refuses
(revoked, or a clock that is off) are fetched again at once. Spark's JVM and MLflow read the same environment
through the same kind of chain.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from asgard_assets.errors import ConfigError

T = TypeVar("T")
_ASK_AGAIN_SECONDS = 5.0
"""botocore looks at the clock each time it is asked; an engine that opens a thousand files need not."""

REFUSALS = (
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidAccessKeyId",
    "INVALID_ACCESS_KEY_ID",
    "SignatureDoesNotMatch",
    "SIGNATURE_DOES_NOT_MATCH",
    "AccessDenied",
    "ACCESS_DENIED",
    "Forbidden",
    "HTTP 403",
    "status 403",
)
"""How engines say that a store refused the keys."""


@dataclass(frozen=True)
class Keys:
    """What signs a request. `token` comes with keys that are lent for some time."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class Credentials:
    """The keys that one environment leads to. Threads share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._found: Any = None
        self._keys: Keys | None = None
        self._asked = float("-inf")

    def keys(self) -> Keys:
        """The keys of now. Raises ConfigError where there are none."""
        with self._lock:
            if self._keys is None or self._clock() - self._asked > _ASK_AGAIN_SECONDS:
                self._keys, self._asked = self._ask(), self._clock()
            return self._keys

    @property
    def handed_out(self) -> Keys | None:
        """The keys that were asked for last."""
        return self._keys

    def renew(self, refused: Keys | None) -> bool:
        """Fetch keys anew because the store refused these; None stands for those of now. Where another thread has
        renewed them already, nothing is fetched. False where no others can come."""
        with self._lock:
            if _static() is not None:
                return False
            if refused is None or refused == self._keys:
                self._found = None
                self._keys, self._asked = self._ask(), self._clock()
            return True

    def _ask(self) -> Keys:
        if static := _static():
            return static
        if self._found is None:
            from botocore.session import Session

            self._found = Session().get_credentials()
        if self._found is None:
            raise ConfigError(
                "no keys for S3 were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile "
                "(AWS_PROFILE), or give this machine or pod a role"
            )
        now = self._found.get_frozen_credentials()
        return Keys(now.access_key, now.secret_key, now.token)


def credentials() -> Credentials:
    """The source for the environment as it is."""
    return _of_environment(tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_"))))


@lru_cache(maxsize=4)
def _of_environment(named: tuple[tuple[str, str], ...]) -> Credentials:
    return Credentials()


def _static() -> Keys | None:
    """Keys that stand in the environment. botocore, which knows them too, costs 25 MB to import."""
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret or "AWS_CREDENTIAL_EXPIRATION" in os.environ:
        return None
    return Keys(access, secret, os.environ.get("AWS_SESSION_TOKEN") or None)


def refused(error: BaseException) -> bool:
    """Whether a store refused the keys; every engine says it in words of its own."""
    text = str(error)
    return isinstance(error, PermissionError) or any(word in text for word in REFUSALS)


def renewed(error: BaseException, used: Keys | None) -> bool:
    """Whether `error` is a refusal of the keys that were used, and there may be others now."""
    try:
        return refused(error) and credentials().renew(used)
    except ConfigError:
        return False


def patiently(call: Callable[[], T]) -> T:
    """What `call` returns; it is called again, with new keys, where the store refused those of now."""
    used = credentials().handed_out
    try:
        return call()
    except Exception as error:
        if not renewed(error, used):
            raise
    return call()
