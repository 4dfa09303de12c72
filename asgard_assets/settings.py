"""Deployment settings: environment variables `ASGARD_*`, or the `.env` file of the project."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from asgard_assets import project
from asgard_assets.errors import ConfigError
from asgard_assets.roots import checked_root
from asgard_assets.windows import Calendar, Every, zone_named

REFERENCES = ("env:", "file:", "aws-secret:", "vault:")
"""What a reference to a secret begins with."""
_LOCAL_START = date(2026, 10, 5)
_READ: dict[tuple[object, ...], Settings] = {}  # the last ones read, by what they were read from
LOCAL_AIRBYTE_USER = "asgard"


UiName = Literal["dagster", "mlflow", "feast"]


class SparkConnect(BaseModel):
    """A Spark Connect server that is run elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    address: str = Field(
        pattern=r"^[A-Za-z0-9.-]+(:[0-9]{1,5})?$", description="Host, or host:port, of the server."
    )
    tls: bool = Field(default=False, description="Whether the connection is encrypted.")
    token: str = Field(
        default="",
        pattern=rf"^$|^({'|'.join(REFERENCES)}).+$",
        description="Reference to its token, such as env:SPARK_TOKEN. Empty: it wants none.",
    )
    workspaces: tuple[str, ...] = Field(default=("*",), description="Who sees it: workspaces, or * for all.")


class Settings(BaseSettings):
    """Where Asgard runs and keeps its data. The defaults need no server, cloud or key."""

    # Some values are secrets: webhooks, and addresses that carry a login. Neither repr nor an error shows them.
    model_config = SettingsConfigDict(
        env_prefix="ASGARD_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    env: Literal["local", "production"] = Field(
        default="local", description="local: no server is needed. production: S3, Kubernetes and secrets."
    )
    home: Path = Field(
        default=Path(".asgard"),
        description="Folder for everything that a local run keeps; a relative one lies in the project.",
        validate_default=True,
    )
    lake: str = Field(default="", description="Root of the Delta tables: a folder or s3://bucket/prefix.")
    landing: str = Field(
        default="", description="Root of the files that sources write: one folder for each source."
    )
    cache: Path = Field(
        default=Path("~/.cache/asgard").expanduser(),
        description="Folder of Spark's jars and Airbyte's connectors, by version.",
    )
    partition_start: date | None = Field(
        default=None,
        description="First daily partition. Required in production; a local run begins with 2026-10-05.",
    )
    partition_end: date | None = Field(
        default=None,
        description="First day without a partition. Empty: the calendar goes on.",
    )
    time_zone: str = Field(default="UTC", description="Zone in which a daily partition begins.")
    lookback_days: int = Field(
        default=60, ge=1, description="How many days back automation reacts to late data."
    )
    open_window_minutes: float = Field(
        default=15,
        ge=1,
        description="How often at most automation builds Silver and Gold of a window that has not ended.",
    )
    retries: int = Field(
        default=3, ge=0, description="How often a failed step is tried again, where its table does not say."
    )
    retry_delay_seconds: float = Field(
        default=10, ge=0, description="Seconds before the first retry of a step; they double each time."
    )
    history_days: float = Field(
        default=30,
        gt=0,
        description="Dagster's runs and events older than so many days are removed each night.",
    )
    history_runs: int = Field(
        default=8_000, ge=1, description="So many of Dagster's runs are kept at most; the oldest go first."
    )
    history_logs: int = Field(
        default=1_000,
        ge=0,
        description="Logs of so many runs that went well are kept at most; those of failed runs stay with the run.",
    )
    owner: str = Field(default="team:data-platform", description="Owner of tables that name no owner.")
    spark_memory: str = Field(default="1g", description="Memory of the local Spark driver (JVM heap).")
    spark_cores: int = Field(default=2, ge=1, description="How many tasks local Spark runs at once.")
    airbyte_url: str = Field(
        repr=False,
        default="http://127.0.0.1:8001",
        validation_alias=AliasChoices("ASGARD_AIRBYTE_URL", "AIRBYTE_BASE_URL"),
        description="Address of the Airbyte server, with or without /api/public/v1.",
    )
    mlflow_uri: str = Field(
        repr=False,
        default="",
        description="Address of MLflow's tracking store, such as postgresql://user:password@host/mlflow. Default: SQLite in "
        "ASGARD_HOME; production must name one. Files of models lie in the lake.",
    )
    feast_registry: str = Field(
        repr=False,
        default="",
        description="Address of Feast's registry, such as postgresql://user:password@host/feast. Default: a file in "
        "ASGARD_HOME; production must name one.",
    )
    online_store: str = Field(
        repr=False,
        default="",
        description="Address of the online store: redis://host:6379/0, rediss://… or postgresql://user:password@host/feast. "
        "Default: what feature_store.yaml says, SQLite in ASGARD_HOME; production must name one that all pods reach.",
    )
    launcher: Literal["none", "spark-submit", "kubernetes", "connect"] = Field(
        default="none",
        description="Where Spark assets run: in this process, in a spark-submit driver, on Kubernetes, or on a Spark Connect "
        "server that is running already.",
    )
    spark_connect: str = Field(
        default="",
        pattern=r"^$|^sc://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/;use_ssl=(true|false))?/?$",
        description="Spark Connect server where Spark assets run (ASGARD_LAUNCHER=connect): sc://spark.example.com:15002, "
        "with TLS sc://spark.example.com:443/;use_ssl=true. Empty: the one that `asgard dev` starts.",
    )
    spark_connect_token: str = Field(
        default="",
        pattern=rf"^$|^({'|'.join(REFERENCES)}).+$",
        description="Reference to the token of that server, such as env:SPARK_TOKEN. Empty: it wants none.",
    )
    spark_session_pool_size: int = Field(
        default=10,
        ge=1,
        validation_alias=AliasChoices("ASGARD_SPARK_SESSION_POOL_SIZE", "SPARK_SESSION_POOL_SIZE"),
        description="How many Spark Connect sessions a process has open at most.",
    )
    spark_session_pool_seconds: float = Field(
        default=60,
        gt=0,
        description="How many seconds a step waits for a Spark Connect session where all are in use.",
    )
    alert_webhook: str = Field(
        repr=False, default="", description="Address to which failed runs are posted. Empty: nowhere."
    )
    alert_webhooks: dict[str, str] = Field(
        repr=False,
        default_factory=dict[str, str],
        description='Webhooks of single owners, as JSON: {"team:billing": "https://…"}; others use the common one.',
    )
    alert_email: str = Field(
        default="", description="E-mail address that is told what went wrong, where an owner has none."
    )
    alert_emails: dict[str, str] = Field(
        default_factory=dict[str, str],
        description='E-mail addresses of single owners, as JSON: {"team:billing": "billing@example.com"}; an owner that is '
        "an address is written to directly.",
    )
    smtp: str = Field(
        default="", description="Mail server for alerts, as host:port. Empty: no e-mail is sent."
    )
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection to the mail server is encrypted."
    )
    smtp_user: str = Field(default="", description="User at the mail server. Empty: no login.")
    smtp_password: str = Field(default="", repr=False, description="Password of that user.")
    smtp_from: str = Field(default="asgard@localhost", description="Sender of alerts.")
    disk_free_gib: float = Field(
        default=4,
        ge=0,
        description="People are told when a disk of the home or a local lake has less free space, in GiB.",
    )
    queue_minutes: float = Field(
        default=30, gt=0, description="People are told when a run waits so long while no run is going on."
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
    clusters: dict[str, SparkConnect] = Field(
        repr=False,
        default_factory=dict[str, SparkConnect],
        description='Spark Connect servers that the gateway shows and tests, as JSON: {"big": {"address": "spark.example.com", '
        '"tls": true, "workspaces": ["sales"]}}.',
    )
    spark_connect_port: int = Field(
        default=15_002,
        ge=1,
        le=65_535,
        validation_alias=AliasChoices("ASGARD_SPARK_CONNECT_PORT", "SPARK_CONNECT_DEFAULT_PORT"),
        description="Port of Spark Connect servers whose address names none.",
    )
    list_cost_per_1000: float = Field(
        default=0.005,
        ge=0,
        description="Price of 1,000 listings of the object store, for estimates of ingestions.",
    )
    read_cost_per_1000: float = Field(
        default=0.0004,
        ge=0,
        description="Price of 1,000 reads of the object store, for estimates of ingestions.",
    )
    dagster_url: str = Field(
        default="http://127.0.0.1:3000",
        description="Address of Dagster's UI: the gateway asks it to load the project again after an ingestion changed, and "
        "its pages link to it. Empty: neither.",
    )
    kafka: str = Field(
        default="127.0.0.1:9092", description="Kafka's brokers, as host:port with commas between them."
    )
    kafka_options: dict[str, str] = Field(
        repr=False,
        default_factory=dict[str, str],
        description="Options of the Kafka client, as JSON in the names of librdkafka; secrets as references: "
        '{"security.protocol": "SASL_SSL", "sasl.password": "env:KAFKA_PASSWORD"}.',
    )
    watched_postgres: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="Databases whose replication slots `/metrics` watches, as JSON: a name and a reference to the address, "
        '{"shop": "env:SHOP_DB"}.',
    )
    schema_registry: str = Field(
        default="",
        description="Address of a schema registry with Confluent's API, such as http://registry:8081. Empty: none.",
    )
    schema_registry_auth: str = Field(
        default="",
        pattern=rf"^$|^({'|'.join(REFERENCES)}).+$",
        description="Reference to the registry's login, user:password, such as env:REGISTRY_LOGIN. Empty: no login.",
    )
    iceberg: str = Field(
        repr=False,
        default="",
        description="Iceberg catalog that follows the lake: http://nessie:19120/iceberg of a REST catalog, or "
        "sqlite:///catalog.db for one without a server. Empty: none.",
    )
    iceberg_tables: tuple[str, ...] = Field(
        default=("silver/*", "gold/*"),
        description='Tables that the Iceberg catalog gets, as JSON: ["gold/*", "silver/usage"].',
    )
    iceberg_options: dict[str, str] = Field(
        repr=False,
        default_factory=dict[str, str],
        description="More properties of the Iceberg catalog, as JSON in the names of pyiceberg; secrets as references: "
        '{"warehouse": "lake", "token": "env:NESSIE_TOKEN"}.',
    )
    iceberg_audit: str = Field(
        default="",
        pattern=r"^$|^[A-Za-z][A-Za-z0-9_-]{0,63}$",
        description="First part of the names of Nessie branches on which a table is written and audited before it is merged, "
        "such as audit: gold/orders then waits on audit.gold.orders. Empty: tables are written in place.",
    )
    iceberg_merge: Literal["audited", "by_hand"] = Field(
        default="audited",
        description="When an audited branch of Nessie is merged. audited: once its rows are those of the lake. by_hand: when "
        "a person says `asgard catalog publish`.",
    )
    hive_metastore: str = Field(
        default="",
        pattern=r"^$|^\s*thrift://[^/\s,]+(\s*,\s*thrift://[^/\s,]+)*\s*$",
        description="Hive Metastore that gets the names of tables: thrift://metastore:9083, or several of one metastore with "
        "commas between. Empty: none.",
    )
    hive_tables: tuple[str, ...] = Field(
        default=("silver/*", "gold/*"),
        description='Tables that the Hive Metastore gets, as JSON: ["gold/*", "silver/usage"].',
    )
    openlineage_url: str = Field(
        repr=False,
        default="",
        validation_alias=AliasChoices("ASGARD_OPENLINEAGE_URL", "OPENLINEAGE_URL"),
        description="Where lineage of runs is sent: http://host:port of an OpenLineage endpoint such as Marquez, or "
        "file:/path/events.jsonl. Empty: nowhere.",
    )
    database_url: str = Field(
        repr=False,
        default="",
        validation_alias=AliasChoices("ASGARD_DATABASE_URL", "DATABASE_URL"),
        description="Database of the gateway's accounts and audit log. Empty: SQLite in ASGARD_HOME.",
    )
    secret_key: str = Field(
        repr=False,
        default="",
        validation_alias=AliasChoices("ASGARD_SECRET_KEY", "SECRET_KEY"),
        description="Secret that logins of the web page are signed with: 32 random characters or more. Empty: one of this "
        "machine; production needs one.",
    )
    uis: dict[UiName, str] = Field(
        default_factory=dict[UiName, str],
        description='Pages that the REST API shows behind its login, as JSON: {"dagster": "http://asgard-webserver:3000", "mlflow": '
        '"http://asgard-mlflow:5000", "feast": "http://asgard-feast:8888"}. Each is served below its name, such as /dagster.',
    )
    agent_key: str = Field(
        repr=False,
        default="",
        description="Key of the account that `asgard mcp` works as over stdin and stdout. Needed where there are accounts.",
    )
    gateway_port: int = Field(
        default=8000,
        ge=0,
        le=65_535,
        description="Port at which `asgard dev` serves the REST API beside the UI. 0: it does not.",
    )
    gateway_requests_per_second: float = Field(
        default=500, ge=1, description="Most requests a second that the gateway answers one account."
    )
    gateway_masked_columns: tuple[str, ...] = Field(
        default=("email", "phone", "iban"),
        description='Columns that viewers and operators of the gateway see as ***, as JSON: ["email"].',
    )
    gateway_training: bool = Field(
        default=False,
        description="Whether trainers may send scripts to the gateway. They run closed in, and need Linux 6.2 or newer.",
    )
    gateway_training_seconds: float = Field(
        default=3600, gt=0, description="How long a script that was sent may run."
    )
    gateway_training_memory_gb: float = Field(
        default=4, ge=1, description="Most memory that a script that was sent may have, in GB."
    )
    s3_endpoint: str | None = Field(
        repr=False, default=None, description="Address of the S3 server. Empty: AWS."
    )
    s3_region: str = Field(default="us-east-1", description="S3 region of lake and landing files.")

    def __init__(self, **given: Any) -> None:
        """Settings that are read anew only where the environment, the project or its `.env` has changed since."""
        if given:
            super().__init__(**given)
            return
        source = (type(self), *_source())
        if source not in _READ:
            super().__init__()
            _READ.clear()
            _READ[source] = self
            return
        for part in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
            object.__setattr__(self, part, getattr(_READ[source], part))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then the environment, then the `.env` of the project that this process is in now."""
        found = DotEnvSettingsSource(settings_cls, env_file=project.folder() / ".env")
        return init_settings, env_settings, found

    @field_validator("home")
    @classmethod
    def _home_of_the_project(cls, home: Path) -> Path:
        return project.folder() / home.expanduser()

    @field_validator("airbyte_url")
    @classmethod
    def _address_of_the_server(cls, url: str) -> str:
        return url.rstrip("/").removesuffix("/api/public/v1")

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
    def _zone_exists(self) -> Settings:
        try:
            zone_named(self.time_zone)
        except ConfigError as error:
            raise ConfigError(f"ASGARD_TIME_ZONE: {error}") from error
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

    def calendar(self, every: Every = "day", time_zone: str = "") -> Calendar:
        """The windows of tables by the hour, day, week or month, in the project's zone if the table names none; in
        production without a start where none is set."""
        first = self.partition_start or (None if self.env == "production" else _LOCAL_START)
        return Calendar(zone_named(time_zone or self.time_zone), every, first, self.partition_end)

    @property
    def lake_root(self) -> str:
        """Where the tables are, as every engine takes it."""
        root = checked_root(self._placed(self.lake, "lake"), "ASGARD_LAKE")
        if re.search("%[0-9A-Fa-f]{2}", root):
            raise ConfigError(
                f"{root!r} cannot be used: delta-rs reads a % before two hexadecimal digits as a sign of an encoded "
                "address; rename the folder, or set ASGARD_LAKE (or ASGARD_HOME) to another one"
            )
        return root

    @property
    def landing_root(self) -> str:
        """Where sources drop their files, as every engine takes it."""
        return checked_root(self._placed(self.landing, "landing"), "ASGARD_LANDING", "files are read from")

    def _placed(self, given: str, name: str) -> str:
        """An address as it was given; a relative folder lies in the project, and the default in `home`."""
        if not given:
            return str(self.home.absolute() / name)
        if re.match(r"[~/]|[^/]*:", given) or "//" in given:
            return given  # no relative folder: checked_root says what is wrong with it
        return str(project.folder() / given)

    def local_airbyte_token(self, url: str) -> Path | None:
        """File in which the local Airbyte server at this address keeps its token; None for other machines."""
        place = urlsplit(url)
        if place.hostname not in ("127.0.0.1", "localhost", "::1"):
            return None
        return self.cache / "airbyte" / f"token-{place.port or 80}"

    @property
    def mlflow_tracking_uri(self) -> str:
        """Where MLflow keeps runs and versions. Raises ConfigError in production, where a pod's disk goes with it."""
        if not self.mlflow_uri:
            self.refuse_home("ASGARD_MLFLOW_URI", "MLflow's runs and models", "postgresql://…/mlflow")
        return self.mlflow_uri or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"

    def refuse_home(self, variable: str, what: str, example: str) -> None:
        """Raises ConfigError in production: what only one pod has is gone with that pod."""
        if self.env == "production":
            raise ConfigError(
                f"{variable} is not set: {what} would lie on the disk of one pod and go with it; set it to a server that "
                f"all pods reach, such as {example} (secrets.state of the Helm chart)"
            )


def _source() -> tuple[object, ...]:
    """What settings are read from, as it is now: the environment, the project's folder and its `.env`."""
    file = project.folder() / ".env"
    try:
        stat = file.stat()
        written = stat.st_mtime_ns, stat.st_size, stat.st_ino
    except OSError:
        written = None
    return frozenset(os.environ.items()), file, written
