"""Secrets in a Vault (HashiCorp's, OpenBao, or another server with its API): `vault:PATH#KEY`, read on the driver.

The server and the login are told by Vault's own variables: VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT, and one of VAULT_TOKEN,
VAULT_ROLE_ID with VAULT_SECRET_ID (AppRole), or VAULT_ROLE (the account of the pod; VAULT_AUTH_MOUNT, by default `kubernetes`).
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgard_assets.errors import ConfigError, SourceError

log = logging.getLogger(__name__)
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_SHARE = 2 / 3  # of its life after which something is renewed
_SECONDS = 10


@dataclass
class _Lease:
    """What Vault gave for a while: the token that was logged in with, or a login that it made for us."""

    id: str
    until: float
    seconds: float
    values: dict[str, Any]
    renewable: bool = True

    def is_due(self, now: float) -> bool:
        return now >= self.until - self.seconds * (1 - _SHARE)


class VaultStore:
    """One server. What it lends is renewed as long as it is asked for, and given back by `close`."""

    def __init__(
        self, environment: dict[str, str] | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self._told, self._clock = environment if environment is not None else dict(os.environ), clock
        self._client: Any = None
        self._login: _Lease | None = None
        self._leases: dict[str, _Lease] = {}
        self._lock = threading.Lock()

    def read(self, reference: str, source: str) -> str:
        """The value at `PATH#KEY`. Raises ConfigError where there is none, SourceError where Vault does not answer."""
        path, _, key = reference.partition("#")
        if not key:
            raise ConfigError(
                f"{source}: vault:{path} names no key; write vault:{path}#KEY, such as vault:secret/data/shop#token",
                mentions=reference,
            )
        with self._lock, self._clear(source, path):
            values = self._values(source, path)
        if key not in values:
            known = ", ".join(sorted(values)) or "none"
            raise ConfigError(
                f"{source}: vault:{path} has no key {key!r}; it has {known}", mentions=reference
            )
        return str(values[key])

    def close(self) -> None:
        """Give back what was lent: logins that Vault made, and the token that was logged in with."""
        with self._lock:
            try:
                for lease in self._leases.values():
                    self._client.sys.revoke_lease(lease_id=lease.id)
                if self._login is not None:
                    self._client.auth.token.revoke_self()
            except Exception as error:  # noqa: BLE001  it ends by itself, later
                log.warning("vault: what it lent is not given back: %s", type(error).__name__)
            self._leases, self._login, self._client = {}, None, None

    def _values(self, source: str, path: str) -> dict[str, Any]:
        now = self._clock()
        client = self._logged_in(source)
        lease = self._leases.get(path)
        if lease is not None:
            if not lease.is_due(now):
                return lease.values
            if lease.renewable and self._renewed(lease):
                return lease.values
            del self._leases[path]
        answer = client.read(path)
        if answer is None:
            raise ConfigError(
                f"{source}: vault:{path} is not there. A secret of the engine kv 2 is at MOUNT/data/PATH, such as "
                "secret/data/shop",
                mentions=path,
            )
        values = answer["data"]
        if isinstance(values.get("data"), dict) and "metadata" in values:  # kv 2 keeps versions
            values = values["data"]
        if answer.get("lease_id"):
            seconds = float(answer["lease_duration"])
            self._leases[path] = _Lease(
                answer["lease_id"], now + seconds, seconds, values, bool(answer.get("renewable"))
            )
        return values

    def _renewed(self, lease: _Lease) -> bool:
        """Whether a login lives on. One that may not be renewed any more is asked for anew."""
        from hvac.exceptions import VaultError

        try:
            seconds = float(self._client.sys.renew_lease(lease_id=lease.id)["lease_duration"])
        except VaultError:
            return False
        lease.until, longer = self._clock() + seconds, seconds > lease.seconds * (1 - _SHARE)
        lease.seconds = max(seconds, 1.0)
        return longer

    def _logged_in(self, source: str) -> Any:
        now = self._clock()
        if self._client is not None and (self._login is None or not self._login.is_due(now)):
            return self._client
        if self._client is not None and self._login is not None and self._login.renewable:
            from hvac.exceptions import VaultError

            try:
                self._take(self._client.auth.token.renew_self())
                if self._login.seconds > 1:
                    return self._client
            except VaultError:
                pass
        return self._new(source)

    def _new(self, source: str) -> Any:
        import hvac

        told = self._told
        address = told.get("VAULT_ADDR", "")
        if not address:
            raise ConfigError(
                f"{source}: a secret is in Vault, but VAULT_ADDR does not say where that is",
                mentions="VAULT_ADDR",
            )
        self._client = self._login = None
        client = hvac.Client(
            address, namespace=told.get("VAULT_NAMESPACE") or None, verify=told.get("VAULT_CACERT") or True,
            timeout=_SECONDS, allow_redirects=False,
        )  # fmt: skip
        if token := told.get("VAULT_TOKEN"):
            client.token = token
        elif role := told.get("VAULT_ROLE_ID"):
            self._take(client.auth.approle.login(role, told.get("VAULT_SECRET_ID")))
        elif role := told.get("VAULT_ROLE"):
            mount = told.get("VAULT_AUTH_MOUNT") or "kubernetes"
            account = ACCOUNT.read_text().strip()
            self._take(client.auth.kubernetes.login(role, account, mount_point=mount))
        else:
            raise ConfigError(
                f"{source}: nothing says how to log in to Vault: set VAULT_TOKEN, VAULT_ROLE_ID and VAULT_SECRET_ID, or in a "
                "pod VAULT_ROLE",
                mentions="VAULT_TOKEN",
            )
        self._client = client
        return client

    def _take(self, answer: dict[str, Any]) -> None:
        told = answer["auth"]
        seconds = float(told["lease_duration"]) or float("inf")
        self._login = _Lease("", self._clock() + seconds, seconds, {}, bool(told.get("renewable")))

    @contextmanager
    def _clear(self, source: str, path: str) -> Iterator[None]:
        """Errors of Vault and of the way to it, in our words; no answer of Vault's is quoted."""
        import requests
        from hvac import exceptions

        where = f"{source}: vault:{path}"
        try:
            yield
        except (exceptions.Forbidden, exceptions.Unauthorized) as error:
            self._client = None  # the next reading logs in anew
            raise ConfigError(
                f"{where}: Vault refuses it; look at the policies of the token or role", mentions=path
            ) from error
        except exceptions.InvalidRequest as error:
            raise ConfigError(
                f"{where}: Vault does not take the login or the path (400)", mentions=path
            ) from error
        except (requests.RequestException, exceptions.VaultError) as error:
            raise SourceError(
                f"{where}: Vault at {self._told.get('VAULT_ADDR')} gives no answer ({type(error).__name__}); try again",
                source=source,
            ) from error
        except OSError as error:
            raise ConfigError(
                f"{where}: the pod's account cannot be read from {ACCOUNT} ({error.strerror})", mentions=path
            ) from error


_STORES: dict[tuple[int, frozenset[tuple[str, str]]], VaultStore] = {}


def from_vault(reference: str, source: str) -> str:
    """The value at `PATH#KEY`, by the login that the environment names now. See `VaultStore.read`."""
    told = {name: value for name, value in os.environ.items() if name.startswith("VAULT_")}
    key = os.getpid(), frozenset(told.items())
    if key not in _STORES:
        _STORES[key] = store = VaultStore(told)
        atexit.register(store.close)
    return _STORES[key].read(reference, source)
