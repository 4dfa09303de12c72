"""What requests hold. Where the source documents spell a field in two ways, both are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, StringConstraints

from asgard_assets.quality.tables import Model
from asgard_assets.transforms.managed import Memory, Name, Size
from asgard_assets.transforms.statements import MOST_CHARACTERS

Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
]
Value = float | int | bool | str | None
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,49}$")]


class NewSource(Model):
    source_type: Kind = Field(
        description="postgres, mysql, mongodb, kafka or api; or another connector of Airbyte, such as faker."
    )
    name: Text = Field(description="Name of the source.")
    workspace_name: Text = Field(
        default="default", description="Airbyte's workspace; default: its first one."
    )
    source_config: dict[str, Any] = Field(
        validation_alias=AliasChoices("source_config", "config"),
        description="What the connector needs, such as host, port, username, password and database. Keys are never shown again.",
    )


class SinkConfig(Model):
    s3_bucket_name: Text = Field(
        validation_alias=AliasChoices("s3_bucket_name", "bucket_name"), description="The bucket."
    )
    s3_bucket_path: str = Field(
        default="bronze/", max_length=500, validation_alias=AliasChoices("s3_bucket_path", "bucket_path"),
        description="Folder in the bucket below which each stream gets one.",
    )  # fmt: skip
    s3_bucket_region: Text | None = Field(
        default=None,
        validation_alias=AliasChoices("s3_bucket_region", "region"),
        description="Default: ASGARD_S3_REGION.",
    )
    aws_access_key_id: str = Field(
        default="", max_length=500, description="Key. Left out: the role of Airbyte's own pod."
    )
    aws_secret_access_key: str = Field(
        default="", max_length=500, description="Secret key. It is never shown again."
    )


class NewSink(Model):
    destination_type: Literal["s3"] = Field(default="s3", description="s3 is the one kind.")
    name: Text = Field(description="Name of the sink.")
    workspace_name: Text = Field(
        default="default", description="Airbyte's workspace; default: its first one."
    )
    destination_config: SinkConfig = Field(
        validation_alias=AliasChoices("destination_config", "config"), description="Bucket, path and keys."
    )


class NewIngestion(Model):
    source_id: Text = Field(description="Id that POST /datasource gave.")
    destination_id: Text = Field(
        validation_alias=AliasChoices("destination_id", "sink_id"), description="Id that POST /sink gave."
    )
    workspace_name: Text = Field(
        default="default", description="Airbyte's workspace; default: its first one."
    )
    connection_name: Text = Field(
        default="ingestion",
        validation_alias=AliasChoices("connection_name", "name"),
        description="Name of the connection.",
    )
    schedule: str = Field(
        default="", max_length=100, validation_alias=AliasChoices("schedule", "cron"),
        description="Cron line of five fields, in UTC. Left out: it runs once, now.",
    )  # fmt: skip


class NewTransform(Model):
    sql: str = Field(
        min_length=1, max_length=MOST_CHARACTERS, validation_alias=AliasChoices("sql", "sql_query"),
        description="Spark SQL: temporary views, if any, and then one query. It reads the streams of the sinks by their names "
        "(the first also as source_data) and tables of the lake as stage.table.",
    )  # fmt: skip
    write_mode: Literal["overwrite", "append"] = Field(
        default="overwrite", description="Replace the table's rows, or add to them."
    )
    output_table: str = Field(
        default="",
        max_length=200,
        description="silver.name or iceberg.silver.name. Left out: named after the SQL.",
    )
    workspace_name: Text = Field(default="default", description="Workspace whose sinks are read.")
    source_path: str = Field(
        default="", max_length=500, description="Folder of landing files that is read as source_data instead."
    )
    executor_instances: int | None = Field(
        default=None, ge=1, le=1000, description="How many executors; default 2."
    )
    executor_cores: int | None = Field(default=None, ge=1, le=128, description="Cores of an executor.")
    executor_memory: Memory | None = Field(default=None, description="Memory of an executor, such as 512m.")
    driver_cores: int | None = Field(default=None, ge=1, le=128, description="Cores of the driver.")
    driver_memory: Memory | None = Field(default=None, description="Memory of the driver, such as 512m.")

    @property
    def size(self) -> Size:
        return Size(**{name: getattr(self, name) for name in Size.model_fields})


class NewModel(Model):
    sql_query: str = Field(
        min_length=1, max_length=MOST_CHARACTERS, validation_alias=AliasChoices("sql_query", "sql"),
        description="One DuckDB query over tables of the lake, named as stage.table.",
    )  # fmt: skip
    output_table: str = Field(
        default="",
        max_length=200,
        description="gold.name or iceberg.gold.name. Left out: named after the SQL.",
    )
    write_mode: Literal["overwrite", "append"] = Field(
        default="overwrite", description="Replace the table's rows, or add to them."
    )
    key: tuple[Name, ...] = Field(
        default=(), max_length=20, description="Columns that name a row: tested to be unique and never null."
    )
    workspace_name: Text = Field(default="default", description="Workspace that the table belongs to.")


class FeatureSource(Model):
    table_name: Text = Field(description="The table: its name, or stage.name.")
    stage: Literal["bronze", "silver", "gold"] = Field(
        default="gold", validation_alias=AliasChoices("schema", "stage"), description="Stage of the table."
    )
    timestamp_field: str = Field(
        default="", max_length=200,
        validation_alias=AliasChoices("timestamp_field", "event_timestamp_column"),
        description="Column that says since when a row holds. Left out: event_timestamp, or else the table's last commit.",
    )  # fmt: skip


class NewFeatures(Model):
    name: Name = Field(description="Name of the feature view.")
    entities: tuple[Text, ...] = Field(
        default=(), max_length=10, description="Columns that name what the features are about. Left out: the table's key."
    )  # fmt: skip
    source: FeatureSource = Field(description="The table that holds the features.")
    features: tuple[Text, ...] = Field(
        default=(), max_length=500, description="Columns that are features. Left out: all but the key and times."
    )  # fmt: skip
    ttl_days: int | None = Field(
        default=None, ge=1, le=36_500, description="How long a value holds. Left out: until the next one."
    )
    description: str = Field(default="", max_length=2000, description="What the features say.")
    workspace_name: Text = Field(default="default", description="Workspace that the view belongs to.")


class OnlineKeys(Model):
    entities: dict[str, list[int | str]] = Field(description='Keys by column, such as {"user_id": [1, 2]}.')


class NewTraining(Model):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    script_content: str = Field(
        min_length=1,
        max_length=1_000_000,
        description="A Python script, in base64. It leaves a fitted `model`.",
    )
    model_name: Name = Field(description="Name of the model, which gets a new version.")
    features: tuple[Name, ...] = Field(
        default=(), max_length=50, description="Feature views that it learns from. Left out: all that were sent."
    )  # fmt: skip
    labels: str = Field(
        default="", max_length=200,
        description="Table with the key, event_timestamp and what is to be learned: features are as of each of its rows. Left "
        "out: each key once, as of now.",
    )  # fmt: skip
    promote: bool = Field(
        default=True, description="Whether the version becomes the champion where it predicts every row."
    )
    workspace_name: Text = Field(default="default", description="Workspace that the model belongs to.")


class NewInference(Model):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    model_name: Name = Field(description="Name of the model.")
    inputs: dict[str, list[Value]] | list[dict[str, Value]] = Field(
        description='Values by column, such as {"total_purchases": [5, 25]}, or a list of rows.'
    )
    version: int | None = Field(
        default=None, ge=1, description="Version of the model. Left out: its champion."
    )
    shadow: bool = Field(
        default=False,
        description="Let the newest version predict the rows as well. Nobody sees its answers; /mlops/status counts where they differ.",
    )
