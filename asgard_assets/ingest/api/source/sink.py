"""Where an API source's answers go, and what their table promises."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, field_validator, model_validator

from asgard_assets.ingest.api.source.forms import OWN_COLUMNS, KeyType, column_of
from asgard_assets.ingest.api.source.parameters import Misfit
from asgard_assets.ingest.api.source.payload import checked
from asgard_assets.lake import DS
from asgard_assets.quality.tables import Check, Model


class Payload(Model):
    """The answer parsed: a column `payload`, of a row-driven source beside the body."""

    type: Literal["struct", "text"] = Field(
        default="struct",
        description="struct: the answer becomes typed columns. text: it is stored as JSON text.",
    )
    path: str = Field(
        default="", description="Path of the payload in the body (of a pull source: in the item)."
    )
    columns: Annotated[JsonValue, AfterValidator(lambda v: v if v is None else checked(v))] = Field(
        default=None,
        description="Schema of the payload, such as `{id: bigint, address: {city: string}, tags: "
        "[string]}`; scalars are bigint, double, boolean, string, timestamp, date and json. "
        "Default: inferred from the first run's answers.",
    )
    on_drift: Literal["report", "fail"] = Field(
        default="report",
        description="What does not fit the schema is kept in `payload_rescued`; the check `schema_drift` "
        "reports it, or keeps the partition from being published.",
    )


class Child(Model):
    """A nested list that becomes a table of its own: one row for each element."""

    path: str = Field(
        description="Path of the list in each item, such as `lines` or `cart.lines`; of a row-driven source in the body."
    )
    table: str = Field(
        pattern=r"^[a-z0-9_]+/[a-z][a-z0-9_]*$", description="stage/table, such as bronze/order_lines."
    )
    key: dict[str, KeyType] = Field(
        default_factory=dict,
        description="Key of an element in its parent: paths in it and their types. They become columns. Without it, its "
        "place in the list is its key.",
    )
    map_key: str | None = Field(
        default=None,
        description="The list is an object: each of its values is an element, with its name under this key.",
    )
    description: str = Field(default="", description="What the table holds, for the catalog.")
    checks: tuple[Check, ...] = Field(default=(), description="More checks.")
    children: tuple[Child, ...] = Field(
        default=(),
        description="Lists in each element.",
        # Dagster writes an example of each component when it loads; of itself it would not end with this one.
        examples=[[{"path": "parts"}]],
    )

    @model_validator(mode="after")
    def _columns_are_free(self) -> Child:
        for path in self.key:
            if column_of(path) in OWN_COLUMNS | {"item_index"} or column_of(path).startswith("parent_"):
                raise Misfit(f"key.{path}", f"the table has a column {column_of(path)} of its own")
        return self

    @property
    def tables(self) -> tuple[str, ...]:
        """Its table, and those of the lists in its elements."""
        return (self.table, *(table for child in self.children for table in child.tables))


Format = Literal["json", "avro", "protobuf"]
"""How a schema registry has values written."""


class TopicSchema(Model):
    """The schema of a topic's values, in a schema registry."""

    format: Format = Field(
        default="json", description="Kind of schema, and how values are written: json, avro or protobuf."
    )
    definition: JsonValue = Field(
        description="The schema: JSON Schema or Avro as YAML; Protobuf as base64 of its FileDescriptorProto."
    )
    subject: str = Field(
        default="", description="Subject in the registry. Default: the topic's name with -value behind it."
    )

    @property
    def text(self) -> str:
        """As the registry gets it: the same text for the same schema."""
        return (
            self.definition
            if isinstance(self.definition, str)
            else json.dumps(self.definition, separators=(",", ":"))
        )


class Sink(Model):
    """The table (or topic), and what of an answer it keeps."""

    table: str = Field(
        pattern=r"^[a-z0-9_]+/[a-z][a-z0-9_]*$",
        description="Table that the answers go to, as stage/table, such as bronze/usage.",
    )
    kafka: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9_]+\.[a-z][a-z0-9_]*$",
        description="Topic that the items go to, such as events.orders, instead of a table. `table` is left out; the "
        "asset is events/orders.",
    )
    kafka_schema: TopicSchema | None = Field(
        default=None,
        description="Schema of the topic's values, registered before a fetch starts. An item that breaks it goes to the "
        "topic with .dead behind its name.",
    )
    body: Literal["text", "none"] = Field(
        default="text", description="text: response bodies are stored. none: they are left out."
    )
    max_body_bytes: int = Field(
        default=10 << 20,
        ge=1,
        description="A request whose body, unpacked, is longer than this becomes a failed row.",
    )
    offload_bytes: int | None = Field(
        default=None,
        ge=1,
        description="A body longer than this becomes a file beside the table; `body_path` names it, "
        "`body` is null.",
    )
    payload: Payload | None = Field(default=None, description="Parse the answer, as text or typed.")
    children: tuple[Child, ...] = Field(
        default=(), description="Nested lists that become tables of their own, with the key of their parent."
    )
    mode: Literal["overwrite"] = Field(
        default="overwrite",
        description="The days that were asked for are replaced as a whole, by one commit. There is no other mode: "
        "a run that is repeated must not land rows twice.",
    )
    location: None = Field(default=None, description="Cannot be set: a table is in the lake, at stage/table.")
    row_hash: bool = Field(
        default=False,
        description="A column `row_hash`: SHA-256 of the item (or body), whatever the order of its keys; equal where the "
        "API says the same.",
    )
    partition_by: tuple[Literal["ds"], ...] = Field(
        default=("ds",), min_length=1, description="Tables are partitioned by the day that was asked for."
    )
    properties: dict[str, str] = Field(
        default_factory=dict, description="Delta table properties, such as delta.logRetentionDuration."
    )
    volatile_headers: frozenset[str] = Field(
        default=frozenset(
            {"date", "age", "expires", "connection", "keep-alive", "server-timing", "x-request-id", "via"}
        ),
        description="Response headers that change without the record changing: not kept. Lower case.",
    )

    @model_validator(mode="before")
    @classmethod
    def _topic_is_an_asset(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("kafka"), str):
            return data
        asset = data["kafka"].replace(".", "/", 1)
        if data.get("table") not in (None, asset):
            raise Misfit("table", "give either kafka or table: records go to one place")
        return {**data, "table": asset}

    @model_validator(mode="after")
    def _records_go_as_they_came(self) -> Sink:
        if self.kafka and (self.payload or self.children or self.body == "none" or self.offload_bytes):
            raise Misfit(
                "kafka",
                "a topic gets each item as the API sent it; leave out payload, children, body and offload_bytes. What "
                "reads the topic takes it apart",
            )
        return self

    @field_validator("mode", mode="before")
    @classmethod
    def _replaces(cls, value: Any) -> Any:
        if value in ("append", "merge", "upsert", "ignore", "error"):
            raise ValueError(
                f"`{value}` is never done: a run replaces the days it was asked for, so that a repeated one lands "
                "nothing twice. Leave it out; merge by key in Silver (docs/decisions/0004-what-a-sink-may-say.md)"
            )
        return value

    @field_validator("location", mode="before")
    @classmethod
    def _lies_in_the_lake(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError(
                "a table lies in the lake, at stage/table; another lake is ASGARD_LAKE, another name is "
                "sink.table (docs/decisions/0004-what-a-sink-may-say.md)"
            )
        return value

    @field_validator("partition_by", mode="before")
    @classmethod
    def _by_day(cls, value: Any) -> Any:
        named = (value,) if isinstance(value, str) else tuple(value or ())
        if named != (DS,):
            raise ValueError(
                f"tables are partitioned by `{DS}`, the day that was asked for, and by nothing else: a day is what is "
                "replaced (docs/decisions/0004-what-a-sink-may-say.md)"
            )
        return named

    @model_validator(mode="after")
    def _each_table_is_one(self) -> Sink:
        named = [self.table, *self.child_tables]
        if twice := {table for table in named if named.count(table) > 1}:
            raise Misfit(
                "children", f"{', '.join(sorted(twice))} is named twice; each list needs a table of its own"
            )
        return self

    @property
    def child_tables(self) -> tuple[str, ...]:
        return tuple(table for child in self.children for table in child.tables)

    @property
    def stage(self) -> str:
        return self.table.split("/")[0]

    @property
    def name(self) -> str:
        return self.table.split("/")[1]


class Quality(Model):
    """What the table holds, who owns it, and how good it must be."""

    description: str = Field(description="What the table holds, for the catalog.")
    owners: tuple[str, ...] = Field(
        default=(),
        description="Owners, as Dagster writes them: team:billing or an e-mail address. Default: "
        "ASGARD_OWNER.",
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="Tags of the asset, such as domain: billing."
    )
    kinds: tuple[str, ...] = Field(
        default=("api", "spark", "delta"), description="Kinds that the UI shows at the asset, such as delta."
    )
    checks: tuple[Check, ...] = Field(
        default=(),
        description="Conditions that every row or partition must meet, beside those of every API table.",
    )
    fresh_hours: float = Field(
        default=26, gt=0, description="A table older than this many hours is shown as stale."
    )
    min_success: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="A partition with a smaller share of successes is not published. Default: 0.5, or 1 "
        "for pull.",
    )
    usual_success: float = Field(
        default=0.95, ge=0, le=1, description="A partition with a smaller share of successes is a warning."
    )
