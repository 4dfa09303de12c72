"""What a team writes about a stream: the topic, the window of a record, and what is set aside."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from asgard_assets.ingest.api.source.sink import Format, TopicSchema
from asgard_assets.lake.numbers import source_name
from asgard_assets.quality.tables import ZONE_TEXT, Check, Model, Slices, TimeZone
from asgard_assets.windows import Every

TOPIC = r"^[A-Za-z0-9._-]{1,249}$"


class StreamWindow(Model):
    """Which time of a record says in which partition it is."""

    type: Literal["arrival", "event"] = Field(
        default="arrival",
        description="arrival: when the broker got the record. event: a time in the record, at `field`.",
    )
    field: str = Field(
        default="",
        description="Path of the event's time in the record, such as `created_at`: ISO 8601, or seconds or "
        "milliseconds since 1970.",
    )
    future_hours: float = Field(
        default=24, ge=0, description="A record from later than this many hours ahead goes to quarantine."
    )

    @field_validator("field")
    @classmethod
    def _no_empty_steps(cls, path: str) -> str:
        if path and not all(path.split(".")):
            raise ValueError("a path is names with dots between them, such as order.created_at")
        return path


class StreamSource(Model):
    """A topic of Kafka as a Bronze table: every record is a row, or a row of the quarantine that says why not."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the table in Bronze.")
    topic: str = Field(pattern=TOPIC, description="Topic that is read, such as events.orders.")
    every: Every = Field(default="day", description="The table's windows: hour, day, week or month.")
    time_zone: TimeZone = Field(default="", description=ZONE_TEXT)
    partitions: Slices = Field(
        default_factory=dict,
        description="A second column that cuts the table beside time, with its values: {region: [eu, us]}. The record says which, at "
        "`partition_field`; one without any of them goes to quarantine.",
    )
    partition_field: str = Field(
        default="",
        description="Path of the second column's value in the record, such as `store.region`. Default: the column's own name.",
    )
    window: StreamWindow = Field(
        default=StreamWindow(),
        description="How a record finds its partition: by when it arrived, or by a time in it.",
    )
    starting: Literal["earliest", "latest"] = Field(
        default="earliest", description="Where a table begins that has nothing of the topic yet."
    )
    on_data_loss: Literal["fail", "continue"] = Field(
        default="fail",
        description="If the broker deleted records before they were read: fail says so, continue goes on behind them.",
    )
    max_offsets_per_batch: int = Field(
        default=500_000, ge=1, description="At most so many records are published by one commit."
    )
    max_record_bytes: int = Field(
        default=8 << 20, ge=1, description="A longer record goes to quarantine, with its beginning."
    )
    registry: bool = Field(
        default=False,
        description="Values carry the id of their schema, as a schema registry has them written (ASGARD_SCHEMA_REGISTRY).",
    )
    format: Format = Field(
        default="json",
        description="How values are written. avro and protobuf are read by the registry's schemas.",
    )
    changes: Literal["none", "debezium"] = Field(
        default="none",
        description="debezium: each record is a change of a row of a database. Its key is the row's; a deleted row is "
        "`deleted`.",
    )
    dead_letters: str = Field(
        default="",
        pattern=f"^$|{TOPIC}",
        description="Topic that gets each record that goes to quarantine too, with the reason as a header.",
    )
    json_schema: JsonValue = Field(
        default=None, description="JSON Schema of a record. One that breaks it goes to quarantine."
    )
    description: str = Field(description="What one record is, for the catalog.")
    owners: tuple[str, ...] = Field(
        default=(), description="Owners: team:billing or an e-mail address. Default: ASGARD_OWNER."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of the asset.")
    checks: tuple[Check, ...] = Field(
        default=(), description="Conditions on the rows of a batch; an error keeps the batch unpublished."
    )
    deps: tuple[tuple[str, ...], ...] = Field(
        default=(), description="Assets that fill the topic; default: the API source of that topic."
    )
    fresh_hours: float = Field(
        default=26, gt=0, description="A table older than this many hours is shown as stale."
    )

    @model_validator(mode="after")
    def _formats_need_their_schemas(self) -> StreamSource:
        if self.format != "json" and not self.registry:
            raise ValueError(f"format: {self.format} needs registry: true, which its schemas are read from")
        if self.dead_letters == self.topic:
            raise ValueError("dead_letters: records would come back for ever; name another topic")
        return self

    @model_validator(mode="after")
    def _slices_fit(self) -> StreamSource:
        if self.partition_field and not self.partitions:
            raise ValueError(
                "partition_field: there is no column to find; say it in `partitions`, as {region: [eu, us]}"
            )
        if not self.partitions:
            return self
        if self.partitions[self.second] == "dynamic":
            raise ValueError(
                f"partitions: a topic may bring any {self.second}, so that its values have to be known: "
                f"{{{self.second}: [eu, us]}}. Records of others go to quarantine"
            )
        if self.changes != "none":
            raise ValueError(
                f"partitions: a change of a row may bring it another {self.second}, and a deleted one has none; leave it out here, "
                "and cut the table in Silver: @silver(partitions=…)"
            )
        return self

    @property
    def second(self) -> str:
        """The column that cuts the table beside time; '' if there is none."""
        return next(iter(self.partitions), "")

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        return source_name(name)

    @property
    def declared_schema(self) -> TopicSchema | None:
        """The JSON Schema, as the registry is asked whether it fits."""
        if not self.registry or self.json_schema is None or self.format != "json":
            return None
        return TopicSchema(format="json", definition=self.json_schema)

    @property
    def table(self) -> str:
        return f"bronze/{self.name}"
