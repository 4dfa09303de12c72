"""What a table promises: columns, key, owner, checks. Plain data, shared by engines, checks and the UI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, Every, checked_values, zone_named

Severity = Literal["error", "warn"]
KEY_IS_UNIQUE = "key_is_unique"


def _known_zone(zone: str) -> str:
    try:
        return zone_named(zone).key if zone else ""
    except ConfigError as error:
        raise ValueError(str(error)) from error


TimeZone = Annotated[str, AfterValidator(_known_zone)]


def _known_slices(partitions: dict[str, Any]) -> dict[str, Any]:
    try:
        if partitions:
            checked_values(partitions)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return partitions


Slices = Annotated[dict[str, tuple[str, ...] | Literal["dynamic"]], AfterValidator(_known_slices)]
PARTITIONS_TEXT = (
    "A second column that cuts the table beside time, with its values: {region: [eu, us]}; {tenant: dynamic} for values that are "
    "added while the platform runs."
)
ZONE_TEXT = "Zone of its windows, such as Asia/Tokyo. Empty: ASGARD_TIME_ZONE."


def refuse_slices(given: Any, why: str) -> Any:
    """What somebody wrote, unless it asks for `partitions`, which this kind of table cannot have. Raises ValueError with `why`."""
    if isinstance(given, dict) and given.get("partitions"):
        raise ValueError(f"partitions: {why}")
    return given


class Model(BaseModel):
    """Data from outside: frozen, and a key that nobody declared is an error.

    An error does not repeat what it found: that may be a secret in the wrong place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Column(Model):
    type: str = Field(description="SQL type as shown in the UI, such as string, bigint, double or timestamp.")
    description: str = Field(default="", description="What the column means, for the catalog.")


class Check(Model):
    """A condition that every row of a partition must meet, or a figure that the partition must reach."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the asset check.")
    sql: str = Field(description="Boolean SQL over one row; with `aggregate: true` over the partition.")
    aggregate: bool = Field(
        default=False, description="Evaluate once for the partition, for example `count(*) > 0`."
    )
    severity: Severity = Field(
        default="error", description="error: the partition is not published; warn: it is, and says so."
    )
    description: str = Field(default="", description="What the check means, for the UI.")


Rebuild = Literal["never", "on_code_change"]
REBUILD_TEXT = (
    "What becomes of partitions that older code built. never: they are shown. on_code_change: they are built again, all "
    "of them; `asgard plan` says what that costs."
)


class TableSpec(Model):
    """A table's contract. `key` is unique and never null within a partition; this check always blocks."""

    stage: str = Field(description="Stage of the table: the first part of its asset key.")
    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="Name of the table: the second part of its asset key."
    )
    description: str = Field(description="What one row of the table is, for the catalog.")
    key: tuple[str, ...] = Field(
        min_length=1, description="Columns that name a row: unique and never null within a partition."
    )
    columns: dict[str, Column] = Field(
        default_factory=dict, description="Columns by name, with type and description."
    )
    checks: tuple[Check, ...] = Field(
        default=(), description="Conditions that every row or partition must meet, beside the key's."
    )
    owners: tuple[str, ...] = Field(
        default=(),
        description="Owners, as Dagster writes them: team:billing or an e-mail address. Default: ASGARD_OWNER.",
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="Tags of the asset, such as domain: billing."
    )
    kinds: tuple[str, ...] = Field(
        default=(), description="Kinds that the UI shows at the asset, such as delta."
    )
    fresh_hours: float = Field(
        default=26, gt=0, description="A table older than this many hours is shown as stale."
    )
    volatile: tuple[str, ...] = Field(
        default=(),
        description="Columns of which another value does not make a row another one, such as load times.",
    )
    retries: int | None = Field(
        default=None, ge=0, description="Retries of a run's step; default: setting ASGARD_RETRIES."
    )
    rebuild: Rebuild = Field(default="never", description=REBUILD_TEXT)
    every: Every = Field(default="day", description="Its windows, one a partition: hour, day, week or month.")
    time_zone: TimeZone = Field(default="", description=ZONE_TEXT)

    @property
    def calendar(self) -> Calendar:
        """Its windows, within the bounds of the project's calendar."""
        return Settings().calendar(self.every, self.time_zone)

    @property
    def asset_key(self) -> list[str]:
        return [self.stage, self.name]

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """The key check, which always blocks, then the declared ones."""
        nulls = " or ".join(f'"{c}" is null' for c in self.key)
        columns = ", ".join(f'"{c}"' for c in self.key)
        unique = Check(
            name=KEY_IS_UNIQUE,
            sql=f"count(*) filter (where {nulls}) = 0 and count(distinct ({columns})) = count(*)",
            aggregate=True,
            description=f"({', '.join(self.key)}) is unique and not null in every partition.",
        )
        return (unique, *self.checks)
