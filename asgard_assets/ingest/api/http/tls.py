"""Who the other side is, and who we are: certificates, and the secrets that a transport needs."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.secrets import Secret, resolve

if TYPE_CHECKING:
    from asgard_assets.ingest.api.source.models import ApiSource


@dataclass(frozen=True)
class WireSecrets:
    """Resolved on the driver, handed to workers by the driver's service."""

    passphrase: Secret | None = None
    proxy_password: Secret | None = None

    @property
    def hidden(self) -> tuple[Secret, ...]:
        return tuple(secret for secret in (self.passphrase, self.proxy_password) if secret)

    def to_wire(self) -> dict[str, Any]:
        return {name: secret.value if secret else None for name, secret in self.__dict__.items()}

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> WireSecrets:
        return cls(**{name: None if value is None else Secret(value) for name, value in fields.items()})


def wire_secrets(source: ApiSource) -> WireSecrets:
    """Raises ConfigError where a secret or a file of certificates is missing, or a key does not open."""
    tls, proxy = source.transport.tls, source.transport.proxy
    passphrase = resolve(tls.key_passphrase, source.name) if tls.key_passphrase else None
    password = resolve(proxy.password, source.name) if proxy and proxy.password else None
    for field in ("ca_bundle", "certificate", "key"):
        path = getattr(tls, field)
        if path and not Path(path).is_file():
            raise ConfigError(
                f"{source.name}: transport.tls.{field}: there is no file {path}; is it mounted, here and on the "
                "workers?",
                field=f"transport.tls.{field}",
            )
    secrets = WireSecrets(passphrase, password)
    try:
        _ = context(source, secrets)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"{source.name}: the certificates of transport.tls cannot be used ({error}); do key, passphrase and "
            "certificate belong together?",
            field="transport.tls",
        ) from error
    return secrets


def context(source: ApiSource, secrets: WireSecrets) -> ssl.SSLContext | bool:
    """What Python's TLS needs to know; True: nothing but what aiohttp has ready (each takes 0.03 s to make)."""
    tls = source.transport.tls
    if tls.verify and not (tls.ca_bundle or tls.certificate):
        return True
    found = ssl.create_default_context(cafile=tls.ca_bundle)
    if not tls.verify:
        found.check_hostname = False
        found.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        # Never None: OpenSSL would ask the terminal for the passphrase.
        passphrase = secrets.passphrase.value if secrets.passphrase else ""
        found.load_cert_chain(tls.certificate, tls.key, passphrase)
    return found
