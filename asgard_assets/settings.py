"""Deployment settings: environment variables `ASGARD_*`, or a `.env` file beside `pyproject.toml`."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from asgard_assets.errors import ConfigError
from asgard_assets.roots import checked_root

ROOT = Path(__file__).resolve().parent.parent
_LOCAL_START = date(2026, 10, 5)
LOCAL_AIRBYTE_USER = "asgard"


class Settings(BaseSettings):
    """Where Asgard runs and keeps its data. The defaults need no server, cloud or key."""

    model_config = SettingsConfigDict(
        env_prefix="ASGARD_", env_file=ROOT / ".env", extra="ignore", frozen=True
    )

    env: Literal["local", "production"] = Field(default="local", description="Which resources are bound.")
    home: Path = Field(default=ROOT / ".asgard", description="Folder for everything that a local run keeps.")
    lake: str = Field(default="", description="Root of the Delta tables: a folder or s3://bucket/prefix.")
    landing: str = Field(default="", description="Root of the files that sources drop: one folder a source.")
    cache: Path = Field(
        default=Path("~/.cache/asgard").expanduser(), description="Spark jars and connectors, by version."
    )
    partition_start: date | None = Field(
        default=None,
        description="First daily partition. Required in production; a local run begins with the demo's, 2026-10-05.",
    )
    partition_end: date | None = Field(
        default=None,
        description="First day without a partition; empty: the calendar goes on. The demo sets 2026-11-02.",
    )
    time_zone: str = Field(default="UTC", description="Zone in which a daily partition begins.")
    lookback_days: int = Field(default=60, ge=1, description="How far back automation reacts to late data.")
    owner: str = Field(default="team:data-platform", description="Owner of tables that name none.")
    spark_memory: str = Field(default="1g", description="Heap of the local Spark driver.")
    spark_cores: int = Field(default=2, ge=1, description="Task slots of local Spark.")
    demo_api_url: str = Field(default="http://127.0.0.1:8765", description="The demo's REST API.")
    demo_token: str = Field(
        default="demo-token", description="Bearer token of the demo's API; guards nothing."
    )
    airbyte_url: str = Field(default="http://127.0.0.1:8001", description="Airbyte server.")
    mlflow_uri: str = Field(default="", description="MLflow tracking store; default: SQLite in `home`.")
    launcher: Literal["none", "spark-submit", "kubernetes"] = Field(
        default="none",
        description="Where Spark assets run: in this process, in a spark-submit driver, or on Kubernetes.",
    )
    alert_webhook: str = Field(default="", description="Where failed runs are posted; empty: nowhere.")
    alert_webhooks: dict[str, str] = Field(
        default_factory=dict[str, str],
        description='Webhooks of single owners, as JSON: {"team:billing": "https://…"}; others use the common one.',
    )
    cost_per_dbu_hour: float = Field(
        default=0.40,
        ge=0,
        validation_alias=AliasChoices("ASGARD_COST_PER_DBU_HOUR", "COST_PER_DBU_HOUR"),
        description="Price of one DBU hour, for `asgard plan`.",
    )
    dbu_per_hour: float = Field(
        default=1.0, ge=0, description="DBUs that an hour of a run uses, all of its machines together."
    )
    storage_cost_per_gb: float = Field(
        default=0.023,
        ge=0,
        validation_alias=AliasChoices("ASGARD_STORAGE_COST_PER_GB", "STORAGE_COST_PER_GB"),
        description="Price of one GB stored for a month, for `asgard plan`.",
    )
    s3_endpoint: str | None = Field(default=None, description="S3 endpoint; empty: AWS.")
    s3_region: str = Field(default="us-east-1", description="S3 region.")

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("partition_start", "partition_end"):
            if values.get(name) == "":
                values[name] = None
        return values

    @model_validator(mode="after")
    def _history_can_be_kept(self) -> Settings:
        home = str(self.home.absolute())
        if "?" in home:
            raise ConfigError(
                f"{home!r} cannot be used: Dagster and MLflow keep their history there in SQLite, and read a ? in its "
                "address as its end; rename the folder, or set ASGARD_HOME to another one"
            )
        return self

    @model_validator(mode="after")
    def _every_engine_can_reach_the_data(self) -> Settings:
        _ = self.lake_root, self.landing_root
        return self

    @model_validator(mode="after")
    def _some_day_is_in_the_calendar(self) -> Settings:
        start = self.partition_start or _LOCAL_START
        if self.partition_end is not None and self.partition_end <= start:
            raise ValueError(
                f"the calendar ends before it begins: ASGARD_PARTITION_END is {self.partition_end} and "
                f"ASGARD_PARTITION_START is {start}; leave the end empty, or set a later day"
            )
        return self

    @property
    def first_day(self) -> date:
        """First daily partition. Raises ConfigError in production, where nobody else can know it."""
        if self.partition_start is None and self.env == "production":
            raise ConfigError(
                "ASGARD_PARTITION_START is not set, and production has no default: set it to the first day that is "
                "to be loaded, for example ASGARD_PARTITION_START=2026-01-01 (calendar.start of the Helm chart)"
            )
        return self.partition_start or _LOCAL_START

    @property
    def lake_root(self) -> str:
        """Where the tables are, as every engine takes it."""
        root = checked_root(self.lake or str(self.home.absolute() / "lake"), "ASGARD_LAKE")
        if re.search("%[0-9A-Fa-f]{2}", root):
            raise ConfigError(
                f"{root!r} cannot be used: delta-rs reads a % before two hexadecimal digits as a sign of an encoded "
                "address; rename the folder, or set ASGARD_LAKE (or ASGARD_HOME) to another one"
            )
        return root

    @property
    def landing_root(self) -> str:
        """Where sources drop their files, as every engine takes it."""
        return checked_root(
            self.landing or str(self.home.absolute() / "landing"), "ASGARD_LANDING", "files are read from"
        )

    def local_airbyte_token(self, url: str) -> Path | None:
        """File in which the local Airbyte server at this address keeps its token; None for other machines."""
        place = urlsplit(url)
        if place.hostname not in ("127.0.0.1", "localhost", "::1"):
            return None
        return self.cache / "airbyte" / f"token-{place.port or 80}"

    @property
    def mlflow_tracking_uri(self) -> str:
        return self.mlflow_uri or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"
