"""A schema registry with Confluent's API: schemas by id, registration, compatibility."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Literal
from urllib.parse import quote

from asgard_assets.errors import ConfigError, SourceError, Transient
from asgard_assets.ingest.api.source.sink import Format, TopicSchema
from asgard_assets.settings import Settings

_SECONDS = 10.0
_KINDS: dict[Format, str] = {"json": "JSON", "avro": "AVRO", "protobuf": "PROTOBUF"}
_FORMATS: dict[str, Format] = {kind: name for name, kind in _KINDS.items()}
_TYPE = "application/vnd.schemaregistry.v1+json"


class RegistryAway(Transient, SourceError):
    """The schema registry does not answer."""


class IncompatibleError(ConfigError):
    """The registry refuses a schema beside the subject's earlier versions."""


@dataclass(frozen=True)
class Registered:
    """A schema as the registry has it."""

    format: Format
    text: str


@dataclass
class Registry:
    """Asks a registry. Schemas never change under their id, so each is asked for once."""

    url: str
    auth: str = ""
    """Reference to `user:password`; empty: no login."""
    _known: dict[int, Registered | None] = field(default_factory=dict, repr=False)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Registry:
        """Raises ConfigError where no registry is set."""
        settings = settings or Settings()
        if not settings.schema_registry:
            raise ConfigError(
                "no schema registry is set: write its address in ASGARD_SCHEMA_REGISTRY, such as http://registry:8081",
                field="schema_registry",
            )
        return cls(settings.schema_registry, settings.schema_registry_auth)

    def schema(self, number: int) -> Registered | None:
        """The schema of an id; None where there is none. Raises RegistryAway."""
        if number not in self._known:
            found = self._ask("GET", f"/schemas/ids/{number}")
            registered = _registered(found) if found else None
            if registered is None:
                return None  # it may be registered later
            if registered.format == "protobuf" and "syntax" in registered.text:
                compiled = self._ask("GET", f"/schemas/ids/{number}?format=serialized") or {}
                registered = Registered("protobuf", _as_base64(compiled.get("schema", "")))
            self._known[number] = registered
        return self._known[number]

    def register(self, topic: str, schema: TopicSchema) -> int:
        """The id of the schema; an equal one keeps its id. Raises IncompatibleError, RegistryAway."""
        self.check(topic, schema)
        told = self._ask("POST", f"/subjects/{quote(subject_of(topic, schema))}/versions", _body(schema))
        assert told is not None
        return int(told["id"])

    def check(self, topic: str, schema: TopicSchema) -> None:
        """Raises IncompatibleError where the subject's last version and its level of compatibility forbid the schema."""
        subject = subject_of(topic, schema)
        told = self._ask(
            "POST", f"/compatibility/subjects/{quote(subject)}/versions/latest?verbose=true", _body(schema)
        )
        if told is None or told.get("is_compatible", True):
            return
        why = "; ".join(map(str, told.get("messages") or ())) or "the registry gives no reason"
        raise IncompatibleError(
            f"the schema of {topic} is not compatible with the last one of the subject {subject} ({why}). Give new fields "
            "a default, keep old ones, or use another topic",
            subject=subject,
        )

    def _ask(self, method: Literal["GET", "POST"], path: str, body: Any = None) -> Any:
        """The answer; None for 404. Raises RegistryAway, IncompatibleError for 409, ConfigError for other refusals."""
        headers = {"Content-Type": _TYPE, "Accept": f"{_TYPE}, application/json"}
        if self.auth:
            from asgard_assets.ingest.api.source.secrets import resolve

            login = resolve(self.auth, "ASGARD_SCHEMA_REGISTRY_AUTH").value
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(f"{self.url.rstrip('/')}{path}", data, headers, method=method)  # noqa: S310
            with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            told = error.read(1000).decode(errors="replace")
            if error.code == 409:
                raise IncompatibleError(f"the schema registry refuses the schema: {told}") from error
            if error.code in (401, 403, 422) or error.code < 429:
                raise ConfigError(f"the schema registry answers {error.code}: {told}") from error
            raise RegistryAway(f"the schema registry answers {error.code}: {told}") from error
        except (OSError, ValueError, HTTPException) as error:
            raise RegistryAway(
                f"the schema registry at {self.url} does not answer ({error}). Check ASGARD_SCHEMA_REGISTRY"
            ) from error


def _registered(found: Any) -> Registered:
    """Raises RegistryAway where the answer is none of a schema registry's."""
    try:
        return Registered(_FORMATS[found.get("schemaType", "AVRO")], found["schema"])
    except (KeyError, AttributeError) as error:
        raise RegistryAway(f"the schema registry answers with no schema: {str(found)[:200]}") from error


def subject_of(topic: str, schema: TopicSchema) -> str:
    return schema.subject or f"{topic}-value"


def _body(schema: TopicSchema) -> dict[str, Any]:
    return {"schema": schema.text, "schemaType": _KINDS[schema.format]}


def _as_base64(text: str) -> str:
    """A compiled Protobuf schema as base64: some registries give it so, others as the characters of its bytes."""
    try:
        base64.b64decode(text, validate=True)
        return text
    except ValueError:
        return base64.b64encode(text.encode()).decode()
