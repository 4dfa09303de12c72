"""How an API wants its clients to prove who they are: the `auth` section of a source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from asgard_assets.ingest.api.source.secrets import MASK
from asgard_assets.quality.tables import Model

_REFERENCE = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|aws-secret:[^#\s]+(#\S+)?|vault:[^#\s]+#\S+)$"
# What an auth section may say aloud. All else is taken for a secret until it proves to be a reference.
_PLAIN = frozenset(
    {"type", "username", "place", "name", "token_url", "client_id", "client_auth", "scope", "scopes", "audience"}
    | {"algorithm", "sign", "encoding", "prefix", "timestamp_name"}
    | {"refresh_margin", "refresh_margin_seconds"}
)  # fmt: skip


def _veiled(value: Any) -> Any:
    """What is no reference may be the secret itself: the error about it must not repeat it."""
    return value if isinstance(value, str) and re.match(_REFERENCE, value) else MASK


def veil(section: Any) -> Any:
    """An auth section as an error may show it: whatever its type, and however its fields are misspelt."""
    if isinstance(section, Mapping):
        return {
            key: [veil(one) for one in value]
            if key == "keys" and isinstance(value, list | tuple)
            else value
            if key in _PLAIN and not isinstance(value, Mapping)
            else _veiled(value)
            for key, value in section.items()
        }
    return section if section is None or isinstance(section, Model) else MASK


SecretRef = Annotated[
    str,
    Field(
        pattern=_REFERENCE,
        description="Reference to a secret: env:NAME, file:/path, aws-secret:NAME#KEY or vault:PATH#KEY. Never the secret itself.",
    ),
    BeforeValidator(_veiled),
]


class Key(Model):
    """One secret and where it is sent."""

    key: SecretRef
    place: Literal["header", "query", "body", "cookie"] = Field(
        default="header", description="Where the key is sent; body: a dotted path in the JSON body."
    )
    name: str = Field(default="X-API-Key", description="Name of the header, parameter, body field or cookie.")


class Scheme(Model):
    """What all logins share."""

    keys: tuple[Key, ...] = Field(
        default=(), description="More secrets that each request carries, such as an application key."
    )


class NoAuth(Model):
    """The API asks for nothing."""

    type: Literal["none"] = "none"


class ApiKeysAuth(Scheme):
    """Several keys, sent together."""

    type: Literal["api_keys"]
    keys: tuple[Key, ...] = Field(min_length=1, description="The secrets that each request carries.")


class HmacAuth(Scheme):
    """Each request is signed with a secret (HMAC), which itself is never sent."""

    type: Literal["hmac"]
    key: SecretRef
    algorithm: Literal["sha256", "sha1", "sha512"] = Field(default="sha256", description="The hash.")
    sign: str = Field(
        default="{method}\n{path}\n{query}\n{timestamp}\n{body}",
        description="The text that is signed: `{method}`, `{url}`, `{host}`, `{path}`, `{query}`, `{timestamp}`, "
        "`{body}` and `{body_sha256}` are filled in.",
    )
    encoding: Literal["hex", "base64"] = Field(default="hex", description="How the signature is written.")
    name: str = Field(default="X-Signature", description="Header of the signature.")
    prefix: str = Field(default="", description="Text before it, such as `HMAC-SHA256 Signature=`.")
    timestamp_name: str | None = Field(
        default="X-Timestamp",
        description="Header of the time that was signed (seconds since 1970); null: none.",
    )


class DigestAuth(Scheme):
    """HTTP Digest (RFC 7616): MD5 or SHA-256, qop auth."""

    type: Literal["digest"]
    username: str = Field(description="User name. It is not a secret.")
    password: SecretRef


class BasicAuth(Scheme):
    """HTTP Basic (RFC 7617)."""

    type: Literal["basic"]
    username: str = Field(description="User name. It is not a secret.")
    password: SecretRef


class BearerAuth(Scheme):
    """A fixed token in the Authorization header."""

    type: Literal["bearer"]
    token: SecretRef


class ApiKeyAuth(Scheme):
    """A key in a header, a query parameter, the body or a cookie."""

    type: Literal["api_key"]
    key: SecretRef
    place: Literal["header", "query", "body", "cookie"] = Field(
        default="header", description="Where the key is sent; body: a dotted path in the JSON body."
    )
    name: str = Field(default="X-API-Key", description="Name of the header, parameter, body field or cookie.")


class OAuth2(Scheme):
    """What both grants share. Only the driver talks to the token endpoint; workers get access tokens."""

    token_url: str = Field(description="The token endpoint. `${NAME}` is taken from the environment.")
    client_id: str = Field(description="Name of the client, which is no secret.")
    client_auth: Literal["basic", "body"] = Field(
        default="basic", description="Where the client's id and secret stand in the token request."
    )
    scopes: tuple[str, ...] = Field(
        default=(),
        validation_alias=AliasChoices("scopes", "scope"),
        description="Scopes to ask for; one text with spaces will do.",
    )
    audience: str | None = Field(
        default=None, description="For whom the token is meant, where the token server asks for it."
    )
    refresh_margin_seconds: float = Field(
        default=60,
        ge=0,
        validation_alias=AliasChoices("refresh_margin_seconds", "refresh_margin"),
        description="A token is renewed this long before it expires; at most half of its life.",
    )

    @field_validator("scopes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(value.split()) if isinstance(value, str) else value


class OAuth2Client(OAuth2):
    """OAuth2 client credentials (RFC 6749, 4.4)."""

    type: Literal["oauth2_client_credentials"]
    client_secret: SecretRef


class OAuth2Password(OAuth2):
    """OAuth2 resource owner password credentials (RFC 6749, 4.3)."""

    type: Literal["oauth2_password"]
    username: str = Field(description="Name of the user, which is no secret.")
    password: SecretRef
    client_secret: SecretRef | None = Field(
        default=None,
        description="Reference to the client's secret, such as env:CLIENT_SECRET. Only where the client "
        "has one.",
    )


class OAuth2Refresh(OAuth2):
    """OAuth2 with a refresh token that a person got by logging in (RFC 6749, 6). Servers that give another one with
    each use (rotation) are understood: the newest is kept in the lake, encrypted, and two runs never use one twice.
    """

    type: Literal["oauth2_refresh_token"]
    refresh_token: SecretRef = Field(
        description="Reference to the first refresh token. A new one here replaces the stored one."
    )
    token_key: SecretRef = Field(
        description="Reference to the secret that the kept token is encrypted with, such as 32 random characters."
    )
    client_secret: SecretRef | None = Field(
        default=None,
        description="Reference to the client's secret, such as env:CLIENT_SECRET. Only where the client "
        "has one.",
    )


Auth = Annotated[
    Annotated[
        NoAuth
        | BasicAuth
        | BearerAuth
        | ApiKeyAuth
        | ApiKeysAuth
        | HmacAuth
        | DigestAuth
        | OAuth2Client
        | OAuth2Password
        | OAuth2Refresh,
        Field(discriminator="type"),
    ],
    BeforeValidator(veil),
]
