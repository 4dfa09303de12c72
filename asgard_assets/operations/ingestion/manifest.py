"""A REST API as a low-code Airbyte connector: which streams it has, and where their records lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator

from asgard_assets.errors import ConfigError
from asgard_assets.quality.tables import Model

_VERSION = "6.44.0"
_LOGIN = {"authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config['api_token'] }}"}}


class Stream(Model):
    """One list of the API."""

    path: str = Field(pattern=r"^/[^\s]*$", description="Path below the base URL, such as /v1/orders.")
    items: str = Field(
        default="",
        description="Where the records are in the answer, such as data.orders; empty: it is a list.",
    )
    primary_key: tuple[str, ...] = Field(default=(), description="Fields that name a record.")
    parameters: dict[str, str] = Field(default_factory=dict, description="Query parameters.")

    @field_validator("path", "items")
    @classmethod
    def _no_template(cls, text: str) -> str:
        return refuse_template(text)

    @field_validator("parameters", "primary_key")
    @classmethod
    def _no_templates(cls, found: Any) -> Any:
        for each in found.items() if isinstance(found, dict) else ((name,) for name in found):
            for text in each:
                refuse_template(text)
        return found


class RestApi(Model):
    """The `source_config` of a source of type api."""

    base_url: str = Field(description="Address of the API, such as https://api.example.com.")
    streams: dict[str, Stream] = Field(min_length=1, description="Its lists, by the name of their stream.")
    api_token: str = Field(default="", description="Token that is sent as `Authorization: Bearer`.")

    @field_validator("base_url")
    @classmethod
    def _address(cls, url: str) -> str:
        place = urlsplit(refuse_template(url))
        if place.scheme not in ("http", "https") or not place.hostname or place.username:
            raise ValueError("expected an address such as https://api.example.com, without a login")
        return url.rstrip("/")

    @field_validator("streams")
    @classmethod
    def _names(cls, streams: dict[str, Stream]) -> dict[str, Stream]:
        for name in streams:
            if not name.isidentifier() or not name.isascii():
                raise ValueError(f"the stream {name[:50]!r} needs a plain name, such as orders")
        return streams


def refuse_template(text: str) -> str:
    """The text; raises ValueError where Airbyte would fill something into it."""
    if "{{" in text or "{%" in text or "{#" in text:
        raise ValueError("templates ({{ … }}) are not possible here")
    return text


def rest_api(config: Mapping[str, Any]) -> RestApi:
    """Raises ConfigError that names the field."""
    try:
        return RestApi.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"source_config.{where}: {first['msg'].removeprefix('Value error, ')}; a source of type api has base_url and "
            'streams, such as {"orders": {"path": "/v1/orders", "items": "data"}}'
        ) from error


def manifest_of(api: RestApi) -> dict[str, Any]:
    """The connector's manifest. The token stays in the configuration."""
    login = _LOGIN if api.api_token else {}
    token = {"api_token": {"type": "string", "airbyte_secret": True}} if api.api_token else {}
    return {
        "version": _VERSION,
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": [next(iter(api.streams))]},
        "streams": [_stream(api.base_url, name, one, login) for name, one in api.streams.items()],
        "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": token}},
    }


def _stream(base_url: str, name: str, one: Stream, login: Mapping[str, Any]) -> dict[str, Any]:
    path = [part for part in one.items.split(".") if part]
    return {
        "type": "DeclarativeStream",
        "name": name,
        "primary_key": list(one.primary_key),
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {
                "type": "HttpRequester",
                "url_base": base_url,
                "path": one.path,
                "http_method": "GET",
                "request_parameters": dict(one.parameters),
                **login,
            },
            "record_selector": {
                "type": "RecordSelector",
                "extractor": {"type": "DpathExtractor", "field_path": path},
            },
        },
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {"type": "object", "additionalProperties": True, "properties": {}},
        },
    }
