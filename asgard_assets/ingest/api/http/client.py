"""Which client sends a source's requests."""

from __future__ import annotations

from asgard_assets.ingest.api.http.tls import WireSecrets, wire_secrets
from asgard_assets.ingest.api.http.transport import AiohttpTransport, Transport
from asgard_assets.ingest.api.source.models import ApiSource


def transport(source: ApiSource, secrets: WireSecrets | None = None) -> Transport:
    """The client that the source's `transport.type` names. Without `secrets`, they are resolved here."""
    secrets = wire_secrets(source) if secrets is None else secrets
    if source.transport.type == "native":
        from asgard_assets.ingest.api.http.native import NativeTransport

        return NativeTransport(source, secrets)
    return AiohttpTransport(source, secrets)
