"""How bytes travel: which client, how long each phase may take, how connections are kept."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from asgard_assets.ingest.api.source.schemes import SecretRef
from asgard_assets.quality.tables import Model


class Timeouts(Model):
    """Of one try; none of them bounds the tries together, which is `retry.deadline_seconds`."""

    connect_seconds: float = Field(
        default=10, gt=0, description="Longest time for name lookup, TCP and TLS together."
    )
    read_seconds: float | None = Field(
        default=None, ge=1, description="Longest silence while an answer is awaited. Default: no bound."
    )
    total_seconds: float = Field(
        default=30, gt=0, description="Longest time from connect to the last byte of an answer."
    )


class Connections(Model):
    """TCP connections of each Spark task."""

    most: int | None = Field(
        default=None,
        ge=1,
        description="Most connections open at once. Default: as many as requests are in flight.",
    )
    idle_seconds: int = Field(
        default=60, ge=1, description="An unused connection is closed after this many seconds."
    )
    dns_cache_seconds: int = Field(
        default=300, ge=0, description="How many seconds a looked-up host name is trusted."
    )


class Tls(Model):
    """Which servers to trust, and the certificate to show. Files are paths on the driver and on the workers."""

    verify: bool = Field(
        default=True, description="Check the server's certificate. `false` is only for development."
    )
    ca_bundle: str | None = Field(
        default=None, description="File with the certificates to trust, PEM. Default: those of the system."
    )
    certificate: str | None = Field(
        default=None, description="File with your certificate and its chain, PEM (mTLS)."
    )
    key: str | None = Field(
        default=None,
        description="Key of your certificate, PEM. Default: it is in the file of the certificate.",
    )
    key_passphrase: SecretRef | None = Field(
        default=None,
        description="Reference to the passphrase of your certificate's key, such as env:KEY_PASSPHRASE.",
    )

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Self:
        if (self.key or self.key_passphrase) and not self.certificate:
            raise ValueError("a key needs its certificate: set transport.tls.certificate")
        return self


class Proxy(Model):
    """An HTTP proxy for all requests; the environment's proxy settings are not used."""

    url: str = Field(
        pattern=r"^http://[^/@\s]+/?$",
        description="Address of the proxy, as http://host:port, without credentials.",
    )
    username: str | None = Field(default=None, description="User name for the proxy, if it needs one.")
    password: SecretRef | None = Field(default=None, description="Password for the proxy.")


class Wire(Model):
    """The section `transport` of a source."""

    type: Literal["aiohttp", "native"] = Field(
        default="aiohttp",
        description="The HTTP client: `aiohttp`, or `native` (libcurl), which needs less than half its CPU time.",
    )
    timeouts: Timeouts = Field(default=Timeouts(), description="How long to wait for the API.")
    connections: Connections = Field(
        default=Connections(), description="How many connections are open, and how long they are kept."
    )
    tls: Tls = Field(default=Tls(), description="Certificates: which servers to trust, and your own.")
    proxy: Proxy | None = Field(default=None, description="The proxy to send through.")
    plain_http: bool = Field(
        default=False,
        description="Send credentials to another machine over http:// too, where whoever is on the way reads them.",
    )

    record: str | None = Field(
        default=None,
        description="Folder in which every answer is kept, without secrets. On a cluster: one that all "
        "workers share.",
    )
    replay: str | None = Field(
        default=None,
        description="Folder of a recording that answers in place of the API: no network, no secret.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Wire:
        if self.record and self.replay:
            raise ValueError("give transport.record or transport.replay, not both")
        return self

    @property
    def has_secrets(self) -> bool:
        return bool(self.tls.key_passphrase or (self.proxy and self.proxy.password))
