"""What a team writes about an API: one frozen model, validated before any Spark starts.

Two forms. *Row-driven*: every row of a table or query fills the request template and becomes one request.
*Pull*: a list endpoint is walked page by page, once a partition. Templates know `{row.<column>}` and
`{partition.key}`, `{partition.start}`, `{partition.end}`.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from asgard_assets.ingest.api.source.answers import Answers
from asgard_assets.ingest.api.source.forms import Form, Incremental, PullForm, RowForm, Rows
from asgard_assets.ingest.api.source.parameters import (
    Misfit,
    ParameterText,
    QueryText,
    TemplateBody,
    TemplateText,
)
from asgard_assets.ingest.api.source.schemes import Auth, NoAuth, veil
from asgard_assets.ingest.api.source.secrets import SENSITIVE_HEADERS
from asgard_assets.ingest.api.source.sink import Quality, Sink
from asgard_assets.ingest.api.source.templates import PARTITION_WORDS, PLACEHOLDERS, fields_of
from asgard_assets.ingest.api.source.wire import Wire
from asgard_assets.lake.numbers import source_name
from asgard_assets.quality.tables import PARTITIONS_TEXT, ZONE_TEXT, Model, Slices, TimeZone
from asgard_assets.windows import Every

_VARIABLE = re.compile(r"\$\{\w*\}")
Mode = Literal["auto", "resume", "refresh"]
_NO_IDENTITY = {
    "conditional",
    "redirects",
    "leads_to",
    "hosts",
    "cookies",
}  # how a request travels is no part of what it asks


def _plain(text: str | tuple[str, ...]) -> JsonValue:
    return text if isinstance(text, str) else list(text)


class Endpoint(Model):
    """The request template."""

    base_url: str = Field(
        description="Scheme, host and base path. `${NAME}` is taken from the environment or the settings; "
        "`https://{row.shop}.example.com` is another host for each row (see `hosts`)."
    )
    path: TemplateText = Field(
        default="", description="Path that is appended to base_url; placeholders are URL-encoded."
    )
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="GET", description="HTTP method. All but GET and HEAD send an Idempotency-Key."
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts that a base_url made of a row may name, such as `*.example.com`; credentials go to these.",
    )
    query: dict[str, QueryText] = Field(
        default_factory=dict,
        description="Query parameters: a template text, `{column: …, transform: […], default: …}`, or a list of "
        "them, which sends the parameter once for each.",
    )
    headers: dict[str, ParameterText] = Field(
        default_factory=dict, description="Headers, without secrets; written like `query`."
    )
    body: TemplateBody = Field(
        default=None, description="JSON body. A string that is one placeholder keeps the type of the value."
    )

    conditional: bool = Field(
        default=True,
        description="A refresh sends the ETag and Last-Modified of each row; an answer 304 keeps the row.",
    )
    cookies: bool | None = Field(
        default=None,
        description="Send back the cookies that the API sets, within one list (or one row's request) and origin. "
        "Default: in a list.",
    )
    redirects: int = Field(
        default=5,
        ge=0,
        le=20,
        description="How many redirects to follow. Credentials are sent to `base_url` alone.",
    )

    leads_to: tuple[str, ...] = Field(
        default=(),
        description="Hosts beside base_url's to which the API may lead by redirects and addresses of files, such as "
        "`files.example.com` or `*.example.com`. No credentials go there. A machine of your own network is named in full.",
    )

    @model_validator(mode="after")
    def _no_credentials(self) -> Self:
        if re.search(r"://[^/?#]*@", self.base_url):
            raise ValueError("base_url carries credentials; give them in `auth`, by reference")
        if found := [name for name in self.headers if name.lower() in SENSITIVE_HEADERS]:
            raise ValueError(f"the header {found[0]} carries credentials; give them in `auth`, by reference")
        return self

    @field_validator("base_url")
    @classmethod
    def _is_template(cls, text: str) -> str:
        fields_of(_VARIABLE.sub("", text))
        return text

    @property
    def by_row(self) -> bool:
        """Whether each row has an address of its own."""
        return bool(fields_of(_VARIABLE.sub("", self.base_url)))

    def fields(self) -> dict[tuple[str, str], str]:
        """Every placeholder in use, as (`row`, `partition` or `cursor`, name), with a field that uses it."""
        texts: dict[str, JsonValue] = {"path": self.path, "body": self.body}
        texts["base_url"] = _VARIABLE.sub("", self.base_url)
        texts |= {f"query.{name}": fields for name, text in self.query.items() for fields in [_plain(text)]}
        texts |= {f"headers.{name}": text for name, text in self.headers.items()}
        return {found: f"endpoint.{at}" for at, text in texts.items() for found in fields_of(text)}


# How requests are sent -------------------------------------------------------------------------------------


class Retry(Model):
    """When and how often a request is tried again."""

    attempts: int = Field(
        default=5, ge=1, description="Tries after errors, including the first. Throttling uses up none."
    )
    backoff_seconds: float = Field(
        default=0.2, ge=0, description="Upper bound of the first wait; doubles each time."
    )
    max_backoff_seconds: float = Field(
        default=10, ge=0, description="No wait is longer, unless the API asks for it."
    )
    statuses: frozenset[int] = Field(
        default=frozenset({408, 425, 429, 500, 502, 503, 504}), description="Status codes worth another try."
    )
    throttle_statuses: frozenset[int] = Field(
        default=frozenset({429}), description="Status codes that mean: slow down. They use up no attempt."
    )
    deadline_seconds: float = Field(
        default=120,
        gt=0,
        description="No retry of a request starts after this. If the API asks for a longer wait, the request ends "
        "as retryable and its row says why; see limits.longest_wait_seconds.",
    )


class RateLimits(Model):
    """How much is sent at once, and how fast."""

    max_in_flight: int = Field(
        default=64, ge=1, le=2000, description="Requests in flight in each Spark task."
    )
    max_per_host: int | None = Field(
        default=None,
        ge=1,
        le=2000,
        description="Most requests in flight to one host and port, in each Spark task. Default: "
        "max_in_flight.",
    )
    late_factor: float = Field(
        default=2.0,
        gt=1,
        description="A host that takes this many times as long as it usually does gets fewer requests at "
        "once.",
    )
    bad_share: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="A host that answers this share of requests with a server error, or not at all, gets "
        "fewer at once.",
    )
    requests_per_second: float | None = Field(
        default=None,
        gt=0,
        description="Most requests a second of the whole job; split over its tasks and paced.",
    )
    longest_wait_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Longest wait that the API may ask for, by Retry-After or the reset of its limit; default: "
        "retry.deadline_seconds. For an hourly limit: 3700. What would wait longer is not sent: its row is "
        "retryable and says until when the API is closed.",
    )
    headers: Literal["follow", "ignore"] = Field(
        default="follow",
        description="Headers that tell a limit, such as X-RateLimit-Remaining and RateLimit: follow them, or ignore "
        "them where they mean something else. Retry-After is always followed.",
    )
    pause_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="A throttled answer always delays its own request; it pauses the whole pool where at "
        "least this share of the last answers were throttled (0: always).",
    )


class Execution(Model):
    """Who sends, and how much a worker holds before it writes."""

    run_in: Literal["auto", "process", "spark"] = Field(
        default="auto",
        description="process: the run sends by itself. spark: Spark's workers do. auto: the process sends "
        "up to 20,000 requests and walks of lists up to that size; more goes to Spark, and so "
        "does a source with own middleware.",
    )
    tasks: int | None = Field(
        default=None, ge=1, description="Spark tasks that send; default: the cores there are."
    )
    flush_rows: int = Field(
        default=10_000,
        ge=1,
        description="Most rows that wait in a worker's memory; a kill loses these. A result file is "
        "written after half as many rows, or after flush_bytes or flush_seconds.",
    )
    flush_bytes: int = Field(
        default=16 << 20,
        ge=1,
        description="A worker writes a result file when the bodies in memory have this many bytes.",
    )
    flush_seconds: float = Field(
        default=30, gt=0, description="A worker writes a result file after this many seconds."
    )
    resume_hours: float = Field(
        default=24,
        ge=0,
        description="A run continues a killed one, unless that is older than this. A refresh starts again.",
    )
    environment: tuple[str, ...] = Field(
        default=(),
        description="Environment variables that your own middleware reads in a local worker. Without this, it only "
        "sees those of the system, Python and Spark, AWS_… and ASGARD_…; others may be other sources' secrets.",
    )
    breaker: int = Field(
        default=50,
        ge=1,
        description="Stop if this many tries in a row got no usable answer, and none before did.",
    )


class ApiSource(Model):
    """One API source: where the requests come from, how they are sent, where the answers go."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="Name of the source, and of its pool `api:<name>`."
    )
    kind: Literal["events", "snapshot", "changes"] = Field(
        default="events",
        description="events: the API knows every day. snapshot: it knows only how things are now; a past day "
        "is refused. changes: it tells what changed since a cursor; days come in order.",
    )
    every: Every = Field(
        default="day",
        description="The windows that the API is asked for, one a partition: hour, day, week or month.",
    )
    time_zone: TimeZone = Field(default="", description=ZONE_TEXT)
    partitions: Slices = Field(
        default_factory=dict,
        description=f"{PARTITIONS_TEXT} Each value is asked for by itself: the request names it as {{partition.region}}.",
    )
    lookback_days: int = Field(
        default=0,
        ge=0,
        description="How many days late events may come: a run that names no day asks for these days too.",
    )
    form: Form = Field(
        description="row: one request for each row of a table or query. pull: a list, read page by page."
    )
    endpoint: Endpoint = Field(description="Address, parameters and body of a request.")
    auth: Auth = Field(default=NoAuth(), description="How to log in to the API.")
    middleware: tuple[str, ...] = Field(
        default=(), description="Own middleware by import path `module:name`; runs at each try, before auth."
    )
    retry: Retry = Field(default=Retry(), description="When and how often a request is tried again.")
    answers: Answers = Field(
        default=Answers(), description="What an answer means, if its status does not say so."
    )
    limits: RateLimits = Field(default=RateLimits(), description="How much is sent at once, and how fast.")
    transport: Wire = Field(default=Wire(), description="The HTTP client, its timeouts and connections.")
    execution: Execution = Field(
        default=Execution(), description="Who sends the requests, and how much a worker keeps in memory."
    )
    sink: Sink = Field(description="Which table the answers go to, and what of them is stored.")
    quality: Quality = Field(description="What the table promises: description, owners, checks.")

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        return source_name(name)

    @model_validator(mode="before")
    @classmethod
    def _auth_is_veiled(cls, data: Any) -> Any:
        # Also an error beside the auth section, such as a missing field, shows the whole input.
        return data | {"auth": veil(data["auth"])} if isinstance(data, dict) and "auth" in data else data

    @model_validator(mode="after")
    def _templates_fit(self) -> ApiSource:
        used = self.endpoint.fields()
        for name in self.steps:
            fields = self.step(name).fields().items()
            used |= {
                field: at.replace("endpoint", f"form.job.{name}", 1)
                for field, at in fields
                if field[0] != "job"
            }
        known = {*self.rows.key, *self.rows.carried} if self.rows else set()
        for (root, name), at in used.items():
            shown = f"{{{root}.{name}}}"
            if root == "row" and self.rows is None:
                raise Misfit(at, f"a pull source has no rows, but its template uses {shown}; see form.rows")
            if root == "row" and name not in known:
                raise Misfit(
                    at, f"the template uses {shown}; declare it in form.rows.key or form.rows.columns"
                )
            if root == "partition" and name not in {*PARTITION_WORDS, self.second}:
                raise Misfit(
                    at, f"unknown placeholder {shown}; {PLACEHOLDERS}. A column of `partitions` is one, too"
                )
            if root == "job":
                raise Misfit(
                    at, f"the template uses {shown}, but only form.job.poll, download and clean_up know it"
                )
            if root == "page" and not isinstance(self.form, PullForm):
                raise Misfit(at, f"the template uses {shown}, but a row-driven source has no pages")
            if at == "endpoint.base_url" and root != "row":
                raise Misfit(at, f"base_url uses {shown}; it may use columns of the row alone")
            if root == "cursor" and not self.incremental:
                raise Misfit(at, f"the template uses {shown}; say in form.incremental where it comes from")
        self._slices_fit({name for root, name in used if root == "partition"})
        return self

    def _slices_fit(self, used: set[str]) -> None:
        """Raises Misfit where the values of the second column would not be asked for one by one."""
        if not self.second:
            return
        if self.incremental:
            raise Misfit(
                "partitions",
                f"form.incremental goes on from one cursor, which knows no {self.second}; leave it out, or write a source for "
                "each value",
            )
        if self.sink.children or self.sink.kafka:
            what = "sink.kafka" if self.sink.kafka else "sink.children"
            raise Misfit(
                "partitions",
                f"{what} does not go with `partitions`; leave it out, or write a source for each value",
            )
        asks = self.rows.query if self.rows and self.rows.query else ""
        if self.second not in used and f"${self.second}" not in asks:
            raise Misfit(
                "partitions",
                f"no part of the request names {{partition.{self.second}}}, so that all values would get the same answers; "
                f"write it into endpoint, such as query: {{{self.second}: '{{partition.{self.second}}}'}}",
            )

    @property
    def second(self) -> str:
        """The column that cuts the table beside time; '' if there is none."""
        return next(iter(self.partitions), "")

    @model_validator(mode="after")
    def _hosts_are_named(self) -> ApiSource:
        if self.endpoint.by_row and not isinstance(self.auth, NoAuth) and not self.endpoint.hosts:
            raise Misfit(
                "endpoint.hosts",
                "base_url is made of a row, and the source has credentials; say in endpoint.hosts which hosts "
                "may get them, such as ['*.example.com']",
            )
        return self

    @model_validator(mode="after")
    def _client_can_stream(self) -> ApiSource:
        if self.streams and (
            self.transport.type == "native" or self.transport.replay or self.transport.record
        ):
            raise Misfit(
                "form.decode.stream", "only the client aiohttp streams, and nothing is recorded then"
            )
        return self

    @property
    def reads_aws_secrets(self) -> bool:
        """Whether a secret of this source is in AWS Secrets Manager."""
        return '"aws-secret:' in self.model_dump_json(include={"auth", "transport"})

    @property
    def streams(self) -> bool:
        """Whether bodies are read piece by piece."""
        return isinstance(self.form, PullForm) and self.form.decode.stream

    @model_validator(mode="after")
    def _children_have_parents(self) -> ApiSource:
        sink, form = self.sink, self.form
        if not sink.children:
            return self
        if isinstance(form, PullForm) and not form.key:
            raise Misfit("form.key", "a child table needs the key of its parent's items")
        if isinstance(form, PullForm) and sink.payload is not None and sink.payload.type == "struct":
            columns = sink.payload.columns
            for child in sink.children:
                if sink.payload.path or not isinstance(columns, dict) or columns.get(child.path) != "json":
                    raise Misfit(
                        "sink.children",
                        f"`{child.path}` is read from the payload, which is typed; name its columns, with "
                        f"`{child.path}: json`, or leave out sink.payload",
                    )
        if isinstance(form, RowForm) and (sink.body == "none" or sink.offload_bytes is not None):
            raise Misfit("sink.children", "the lists are read from the bodies; keep them: sink.body: text")
        return self

    @model_validator(mode="after")
    def _topic_fits(self) -> ApiSource:
        if self.sink.kafka and self.rows is not None:
            raise Misfit(
                "sink.kafka",
                "requests are made from rows of a table here; only a list without rows goes to a topic",
            )
        if self.sink.kafka and self.execution.run_in == "spark":
            raise Misfit("execution.run_in", "a source whose sink is a topic is fetched without Spark")
        return self

    @model_validator(mode="after")
    def _kind_fits(self) -> ApiSource:
        if self.incremental and self.kind != "changes":
            raise Misfit("kind", "a source with form.incremental is one of kind: changes")
        if self.lookback_days and self.kind != "events":
            raise Misfit("lookback_days", f"only events come late; this source's kind is {self.kind}")
        return self

    def step(self, name: str) -> Endpoint:
        """The request template of a job's step."""
        job = self.form.job if isinstance(self.form, PullForm) else None
        found = job.steps.get(name) if job else None
        if found is None:
            return self.endpoint
        kept = {field: getattr(found, field) for field in ("method", "path", "query", "headers", "body")}
        return self.endpoint.model_copy(update=kept)

    @property
    def steps(self) -> tuple[str, ...]:
        """Steps of an asynchronous job that have a template of their own."""
        job = self.form.job if isinstance(self.form, PullForm) else None
        return tuple(job.steps) if job else ()

    @property
    def conditional(self) -> bool:
        return self.endpoint.conditional and self.endpoint.method in ("GET", "HEAD")

    @property
    def keeps_cookies(self) -> bool:
        """Whether cookies are sent back: from page to page, unless the source says otherwise."""
        asked = self.endpoint.cookies
        return isinstance(self.form, PullForm) if asked is None else asked

    @property
    def rows(self) -> Rows | None:
        """The rows that requests or lists are made of; None for one list a partition."""
        return self.form.rows

    @property
    def one_request_a_row(self) -> bool:
        return isinstance(self.form, RowForm)

    @property
    def incremental(self) -> Incremental | None:
        return self.form.incremental if isinstance(self.form, PullForm) else None

    @property
    def patience_seconds(self) -> float:
        """How long a request may wait because the API asks for it."""
        return max(self.retry.deadline_seconds, self.limits.longest_wait_seconds or 0.0)

    @property
    def first_cursor(self) -> Any:
        """`{cursor.value}` of a walk that never was."""
        return self.incremental.start if self.incremental else None

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two requests of this source the same, besides the row and the partition.

        The template, not the rendered URL: an API that moves to another host keeps its request ids.
        """
        return {"source": self.name, "endpoint": self.endpoint.model_dump(mode="json", exclude=_NO_IDENTITY)}
