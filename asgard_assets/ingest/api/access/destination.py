"""Where a source's requests go, and whether its credentials may."""

from __future__ import annotations

from urllib.parse import urlsplit

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.addresses import is_loopback
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.schemes import NoAuth, OAuth2
from asgard_assets.ingest.api.source.secrets import expand


def base_url(source: ApiSource) -> str:
    """base_url with its variables filled in. Raises ConfigError where credentials must not go there."""
    url = expand(source.endpoint.base_url, source.name)
    if source.endpoint.by_row:
        return url  # looked at for each row
    parts = urlsplit(url)
    told = source.endpoint.base_url  # what a variable brings may be a secret
    if "@" in parts.netloc:
        raise ConfigError(
            f"{source.name}: endpoint.base_url, {told!r}, carries a login; give it in `auth`, by reference",
            field="endpoint.base_url",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{source.name}: endpoint.base_url is {told!r}; with its variables filled in it must begin with http:// or "
            "https://",
            field="endpoint.base_url",
        )
    _refuse_plain_http(source, url)
    return url


def _refuse_plain_http(source: ApiSource, base: str) -> None:
    """Raises ConfigError where credentials would go to another machine without TLS."""
    if source.transport.plain_http or isinstance(source.auth, NoAuth):
        return
    named = {"endpoint.base_url": base}
    if isinstance(source.auth, OAuth2):
        named["auth.token_url"] = expand(source.auth.token_url, source.name)
    for field, url in named.items():
        parts = urlsplit(url)
        if "@" in parts.netloc and field == "auth.token_url":
            raise ConfigError(
                f"{source.name}: {field} carries a login; give it in `auth`, by reference", field=field
            )
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ConfigError(
                f"{source.name}: {field} begins with http://, and credentials would go to another machine where whoever "
                "is on the way reads them. Write https://, or allow it: transport: {plain_http: true}",
                field=field,
            )
