"""What requests to `/api/v1` hold."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator

from asgard_assets.gateway.bodies import Text
from asgard_assets.operations.autoloader.wanted import Timing, WantedIngestion
from asgard_assets.quality.tables import Model
from asgard_assets.transforms.managed import Name


class Schedule(Model):
    mode: Literal["continuous", "scheduled"] = Field(
        default="continuous",
        description="continuous: new data is loaded as it comes. scheduled: when `cron` says so.",
    )
    cron: str = Field(
        default="",
        max_length=100,
        description="Cron line of five fields, such as 0 2 * * *. Only with scheduled.",
    )
    time_zone: str = Field(
        default="",
        max_length=64,
        validation_alias=AliasChoices("time_zone", "timezone"),
        description="Zone of days and windows, such as Europe/Berlin. Left out: ASGARD_TIME_ZONE.",
    )
    start: date | None = Field(
        default=None,
        validation_alias=AliasChoices("start", "start_date", "backfill_start"),
        description="Files of earlier days are left alone, such as 2026-10-05. Left out: all files are loaded.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Schedule:
        if (self.mode == "scheduled") != bool(self.cron):
            raise ValueError(
                "`cron` goes with `mode: scheduled`, and a schedule needs one, such as 0 2 * * *"
            )
        return self

    def timing(self) -> Timing:
        return Timing(self.cron, self.time_zone, self.start)


class SourceBody(Model):
    type: Literal["files", "api", "database", "stream"] = Field(
        default="files", description="What is read: files, an API, a database, or a topic of Kafka."
    )
    source: dict[str, Any] = Field(
        validation_alias=AliasChoices("source", "source_config", "config"),
        description='What is read, as in a defs.yaml. Of files: path, such as {"path": "orders", "glob": "*.csv"}.',
    )
    format: Literal["auto", "csv", "json", "parquet", "avro", "orc", "xml", "text", "binary", "fixed", "excel"] | dict[str, Any] = Field(
        default="auto", description='Format of files, or its options: {"type": "csv", "delimiter": ";"}.'
    )  # fmt: skip
    schedule: Schedule = Field(default_factory=Schedule, description="When the source is looked at.")
    cluster: Text = Field(
        default="local",
        validation_alias=AliasChoices("cluster", "cluster_id"),
        description="Where runs start: an id of GET /api/v1/clusters.",
    )
    description: str = Field(default="", max_length=2000, description="What one row of the table is.")
    workspace_name: Text = Field(default="default", description="Workspace that the ingestion belongs to.")

    def wanted(self, name: str, account: str, folders: tuple[str, ...]) -> WantedIngestion:
        """What is asked for, in the words of the operations."""
        return WantedIngestion(
            name,
            self.type,
            self.source,
            "" if self.format == "auto" else self.format,
            self.schedule.timing(),
            self.cluster,
            self.description,
            self.workspace_name,
            account,
            folders,
        )


class NewAutoload(SourceBody):
    name: Name = Field(description="Name of the ingestion and of its Bronze table: a-z, 0-9 and _.")


class Tried(SourceBody):
    name: Name = Field(
        default="preview", description="Name that it will have. Of one that is there, changes are shown."
    )
    limit: int = Field(default=10, ge=1, le=100, description="How many rows are shown.")


class Estimated(SourceBody):
    name: Name = Field(
        default="estimate", description="Name that it will have. Of one that is there, past runs count."
    )


class RunBody(Model):
    refresh: Literal["changed", "all", "quarantined"] = Field(
        default="changed",
        validation_alias=AliasChoices("refresh", "mode"),
        description="changed: new and changed data. all: everything again. quarantined: files with records in quarantine.",
    )
    partitions: str = Field(
        default="", max_length=100,
        description="Windows to load: 2026-10-05, 2026-10-05...2026-10-11 or 2026-10-05... Left out: all.",
    )  # fmt: skip
    dry_run: bool = Field(default=False, description="Only say what would be loaded.")


class PauseBody(Model):
    reason: str = Field(default="", max_length=500, description="Why; others see it.")
