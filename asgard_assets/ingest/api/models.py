"""What a team writes about an API: one frozen model, validated before any Spark starts.

Two forms. *Row-driven*: every row of a table or query fills the request template and becomes one request.
*Pull*: a list endpoint is walked page by page, once a partition. Templates know `{row.<column>}` and
`{partition.key}`, `{partition.start}`, `{partition.end}`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from asgard_assets.ingest.api.forms import Form, PullForm, RowForm, Rows
from asgard_assets.ingest.api.sink import Quality, Sink
from asgard_assets.ingest.api.templates import Template, fields_of
from asgard_assets.quality.tables import Model

Mode = Literal["auto", "resume", "refresh"]
_REFERENCE = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$"


def _veiled(value: Any) -> Any:
    """What is no reference may be the secret itself: the error about it must not repeat it."""
    return value if isinstance(value, str) and re.match(_REFERENCE, value) else "***"


SecretRef = Annotated[
    str,
    Field(
        pattern=_REFERENCE,
        description="Reference to a secret: env:NAME or file:/path. Never the secret itself.",
    ),
    BeforeValidator(_veiled),
]


def _parsed(text: str) -> str:
    Template.parse(text)
    return text


def _parsed_body(body: JsonValue) -> JsonValue:
    fields_of(body)
    return body


TemplateText = Annotated[str, AfterValidator(_parsed)]


class Endpoint(Model):
    """The request template."""

    base_url: str = Field(
        description="Scheme, host and base path. `${NAME}` is taken from the environment or the settings."
    )
    path: TemplateText = Field(default="", description="Appended to base_url; placeholders are URL-encoded.")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    query: dict[str, TemplateText] = Field(default_factory=dict, description="Query parameters.")
    headers: dict[str, TemplateText] = Field(default_factory=dict, description="Headers that are no secret.")
    body: Annotated[JsonValue, AfterValidator(_parsed_body)] = Field(
        default=None, description="JSON body; a string that is one placeholder keeps the value's type."
    )

    def fields(self) -> set[tuple[str, str]]:
        """Every placeholder in use, as (`row` or `partition`, name)."""
        texts: list[JsonValue] = [self.path, dict(self.query), dict(self.headers), self.body]
        return set().union(*(fields_of(text) for text in texts))


# Auth ------------------------------------------------------------------------------------------------------


class NoAuth(Model):
    type: Literal["none"] = "none"


class BasicAuth(Model):
    type: Literal["basic"]
    username: str
    password: SecretRef


class BearerAuth(Model):
    type: Literal["bearer"]
    token: SecretRef


class ApiKeyAuth(Model):
    type: Literal["api_key"]
    key: SecretRef
    place: Literal["header", "query"] = Field(default="header", description="Where the key is sent.")
    name: str = Field(default="X-API-Key", description="Name of the header or query parameter.")


Auth = Annotated[NoAuth | BasicAuth | BearerAuth | ApiKeyAuth, Field(discriminator="type")]


# How requests are sent -------------------------------------------------------------------------------------


class Retry(Model):
    attempts: int = Field(
        default=5, ge=1, description="Tries after errors, the first included. Throttling is free."
    )
    backoff_seconds: float = Field(
        default=0.2, ge=0, description="Upper bound of the first wait; doubles each time."
    )
    max_backoff_seconds: float = Field(default=10, ge=0)
    statuses: frozenset[int] = Field(
        default=frozenset({408, 425, 429, 500, 502, 503, 504}), description="Status codes worth another try."
    )
    throttle_statuses: frozenset[int] = Field(
        default=frozenset({429}), description="Status codes that mean: slow down. They use up no attempt."
    )
    deadline_seconds: float = Field(default=120, gt=0, description="No retry of a request starts after this.")


class Limits(Model):
    max_in_flight: int = Field(
        default=64, ge=1, le=2000, description="Requests in flight in each Spark task."
    )
    requests_per_second: float | None = Field(
        default=None, gt=0, description="Budget of the whole job; split over its tasks and paced."
    )
    pause_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="A throttled answer always delays its own request; it pauses the whole pool where at "
        "least this share of the last answers were throttled (0: always).",
    )


class Timeouts(Model):
    connect_seconds: float = Field(default=10, gt=0)
    total_seconds: float = Field(default=30, gt=0, description="One try, from connect to the last byte.")


class Execution(Model):
    tasks: int | None = Field(
        default=None, ge=1, description="Spark tasks that send; default: the cores there are."
    )
    flush_rows: int = Field(default=5_000, ge=1, description="A result file is written after so many rows …")
    flush_bytes: int = Field(default=16 << 20, ge=1, description="… or body bytes …")
    flush_seconds: float = Field(default=30, gt=0, description="… or seconds.")
    breaker: int = Field(
        default=50,
        ge=1,
        description="Give up where so many tries in a row got no usable answer, and none did.",
    )


class ApiSource(Model):
    """One API source: where the requests come from, how they are sent, where the answers go."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    form: Form
    endpoint: Endpoint
    auth: Auth = NoAuth()
    middleware: tuple[str, ...] = Field(
        default=(), description="Own middleware by import path `module:name`; runs at each try, before auth."
    )
    retry: Retry = Retry()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    execution: Execution = Execution()
    sink: Sink
    quality: Quality

    @model_validator(mode="after")
    def _templates_fit(self) -> ApiSource:
        used = {name for root, name in self.endpoint.fields() if root == "row"}
        if isinstance(self.form, PullForm):
            if used:
                raise ValueError(f"a pull source has no rows, but its template uses {_shown(used)}")
        elif missing := used - {*self.form.rows.key, *self.form.rows.columns}:
            raise ValueError(
                f"the template uses {_shown(missing)}; declare it in form.rows.key or form.rows.columns"
            )
        return self

    @property
    def rows(self) -> Rows | None:
        return self.form.rows if isinstance(self.form, RowForm) else None

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two requests of this source the same, besides the row and the partition.

        The template, not the rendered URL: an API that moves to another host keeps its request ids.
        """
        return {"source": self.name, "endpoint": self.endpoint.model_dump(mode="json")}


def _shown(columns: set[str]) -> str:
    return ", ".join(f"{{row.{column}}}" for column in sorted(columns))
