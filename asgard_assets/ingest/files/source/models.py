"""What a file source is: where its files lie, which day each belongs to, and the table they become."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import replace
from datetime import date, datetime
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.source.formats import Auto, Compression, Format
from asgard_assets.ingest.files.source.query import QueryError, check_query, outputs
from asgard_assets.lake.numbers import source_name
from asgard_assets.lake.sql import TypeNameError, check_type
from asgard_assets.quality.tables import ZONE_TEXT, Check, Column, Model, Slices, TableSpec, TimeZone
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, Every, checked_value, slice_of, window_of, zone_named

SchemaMode = Literal["addNewColumns", "rescue", "failOnNewColumns", "none"]
FilesMode = Literal["add", "snapshot"]
Decision = Literal["accept", "rescue", "refuse"]
_MODES: dict[Decision, SchemaMode] = {
    "accept": "addNewColumns",
    "rescue": "rescue",
    "refuse": "failOnNewColumns",
}

TECHNICAL = {
    "_rescued_data": Column(
        type="string",
        description="JSON of what did not fit: values of another type, unexpected columns; else null.",
    ),
    "_file": Column(type="string", description="Source file, relative to the landing root."),
    "_row": Column(type="bigint", description="Position of the record within its file, from 0."),
    "_metadata": Column(
        type="struct<path: string, size: bigint, etag: string, modified: timestamp, row: bigint>",
        description="The source file: path, size, etag (or time and size), time of change; the record's position.",
    ),
    "_ingested_at": Column(type="timestamp", description="When this load began."),
    "ds": Column(type="string", description="Day to which the file belongs."),
}
"""Columns that the loader adds to every table; a source's own columns of these names go to `_rescued_data`."""

VOLATILE = ("_ingested_at", "_metadata")
"""Of these, another value does not make a row another one."""


_DAYS = Calendar()
_HOUR = r"(?:T(?P<hour>\d{2})(?P<offset>[+-]\d{4})?)?"


class _PatternRule(Model):
    @property
    @abstractmethod
    def regex(self) -> str:
        """Where in a path the day stands."""

    def day(self, path: str, modified: datetime, calendar: Calendar = _DAYS) -> str | None:
        """The day, or another window of the calendar, that the path names; None where it names none."""
        match = re.search(self.regex, path)
        if match is None:
            return None
        named = match.groupdict()
        try:
            day = date(int(named["year"]), int(named["month"]), int(named["day"]))
            if calendar.every != "hour":
                return calendar.key_of(day)
            hour = f"{day}T{int(named['hour']):02}{named.get('offset') or ''}"
            return calendar.window(hour).key
        except (ValueError, TypeError, LookupError, ConfigError):
            return None


class ByFolder(_PatternRule):
    """A folder `ds=2026-10-05` names the day; with `every: hour` a folder `ds=2026-10-05T13` the hour."""

    type: Literal["folder"]
    name: str = Field(
        default="ds", description="Name of the folder before the equals sign, such as ds in ds=2026-10-05."
    )

    @property
    def regex(self) -> str:
        return rf"(?:^|/){re.escape(self.name)}=(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<day>\d{{2}}){_HOUR}/"


class ByFilename(_PatternRule):
    """The file's name begins with the day, `2026_10_05_…`, as Airbyte's S3 destination writes it; with `every: hour`
    with the hour, `2026-10-05T13…`."""

    type: Literal["filename"]

    @property
    def regex(self) -> str:
        return rf"(?:^|/)(?P<year>\d{{4}})[_-](?P<month>\d{{2}})[_-](?P<day>\d{{2}}){_HOUR}[^/]*$"


class ByPath(_PatternRule):
    """A regular expression over the path, with the named groups `year`, `month`, `day`, and with `every: hour` `hour`
    (and `offset`, such as +0100, for the hour that a clock change repeats)."""

    type: Literal["path"]
    pattern: str = Field(
        description="Regular expression for the whole path, with the groups year, month and day."
    )

    @field_validator("pattern")
    @classmethod
    def _names_a_day(cls, pattern: str) -> str:
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        if missing := {"year", "month", "day"} - groups:
            raise ValueError(f"lacks the named group {', '.join(sorted(missing))}, as in (?P<year>\\d{{4}})")
        return pattern

    @property
    def regex(self) -> str:
        return self.pattern


class _InZone(Model):
    time_zone: str = Field(
        default_factory=lambda: Settings().time_zone,
        description="Zone whose day counts, such as Europe/Berlin. Default: ASGARD_TIME_ZONE.",
    )

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, zone: str) -> str:
        try:
            return zone_named(zone).key
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def day(self, path: str, modified: datetime, calendar: Calendar = _DAYS) -> str | None:
        """The day, or another window of the calendar, in which the file arrived."""
        return replace(calendar, zone=self.zone).key_at(modified)


class ByArrival(_InZone):
    """The day on which the file was last modified; a file that changes later moves to that day."""

    type: Literal["arrival"]


class ByColumn(_InZone):
    """A column of each row names the day of that row; the run that loads the file is that of its arrival.

    A day, or a time, whose day in the zone counts; a time that names no zone is UTC's. Rows whose column names no day
    go to quarantine. The column may be called `ds`.
    """

    type: Literal["column"]
    name: str = Field(min_length=1, description="Column that names the day of each row.")


DsRule = Annotated[ByFolder | ByFilename | ByPath | ByArrival | ByColumn, Field(discriminator="type")]


class Append(Model):
    """Rows of new files are added; those of a changed file replace its earlier ones."""

    type: Literal["append"] = "append"


class Overwrite(Model):
    """Each load of a day reads all files that lie there and replaces the day."""

    type: Literal["overwrite"] = "overwrite"


class Upsert(Model):
    """The table has one row for each key: the newest, whichever file or day it came with. A record without a value
    for the whole key goes to quarantine."""

    type: Literal["upsert"] = "upsert"
    key: tuple[str, ...] = Field(min_length=1, description="Columns that name what a row is about.")
    newest_by: tuple[str, ...] = Field(
        default=(),
        description="Columns whose greatest value is the newest row of a key. Default: the file's time, its "
        "path, the row's position.",
    )


Write = Annotated[Append | Overwrite | Upsert, Field(discriminator="type")]


class BadDataLimits(Model):
    """How much may go to quarantine before a day is not published. What is above fails the day."""

    bad_files: int = Field(
        default=0, ge=0, description="How many files of a day may fail. The run is not green in any case."
    )
    bad_rows: int | None = Field(
        default=None,
        ge=0,
        description="How many rows of a day may be bad. Empty: any number, but not all of them.",
    )
    bad_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Which share of a day's rows may be bad, from 0 to 1; 1 allows a day of which no record could be read. "
        "Empty: any but all.",
    )


class Merge(Model):
    """Which of several versions of a record stays: one row a key, the newest."""

    key: tuple[str, ...] = Field(
        min_length=1, description="Columns that name a record. A row without a value for them always stays."
    )
    cursor: str | None = Field(
        default=None,
        description="Column that tells the newest version: a number, an instant or text that sorts.",
    )
    read_at: str | None = Field(
        default="_airbyte_extracted_at",
        description="Column that decides which version is newer where the cursor is equal.",
    )
    deleted: str | None = Field(
        default=None, description="Column that is not null where the record was deleted at its source."
    )


def hidden_folder(path: str) -> str:
    """A folder under the landing root that no source reads. Raises ValueError for any other."""
    clean = path.strip("/")
    if not clean.startswith(("_", ".")) or ".." in clean.split("/") or "://" in path:
        raise ValueError("must begin with an underscore or a dot, so that no source reads it")
    return clean


class Clean(Model):
    """What becomes of loaded files after a while. Their rows stay."""

    action: Literal["move", "delete"] = Field(
        description="move: files go to the folder `to` below the landing root. delete: they are deleted "
        "for good."
    )
    after_days: float = Field(
        default=30, gt=0, description="A loaded file is cleared away this many days after its last change."
    )
    to: str = Field(
        default="_cleaned",
        description="Folder below the landing root for moved files. Their own paths stay the same below it.",
    )

    @field_validator("to")
    @classmethod
    def _no_source_reads_it(cls, to: str) -> str:
        return hidden_folder(to)


class FromQueue(Model):
    """An SQS queue, or one that speaks its protocol, that the bucket sends its events to. The source's own: its
    messages are taken off. Keys come from the environment or the machine's role, as for S3."""

    type: Literal["sqs"]
    queue_url: str = Field(
        description="Address of the SQS queue, such as "
        "https://sqs.eu-central-1.amazonaws.com/123456789012/invoices."
    )
    region: str | None = Field(
        default=None, description="AWS region of the queue. Default: ASGARD_S3_REGION."
    )
    relist_minutes: float = Field(
        default=60,
        gt=0,
        description="Minutes between two full listings, which find files that no event reported.",
    )


class FromFolder(Model):
    """A folder into which whatever receives the store's webhook writes each message as a file."""

    type: Literal["folder"]
    path: str = Field(
        description="Folder of the events, below the landing root; its name begins with an underscore or "
        "a dot."
    )
    relist_minutes: float = Field(
        default=60,
        gt=0,
        description="Minutes between two full listings, which find files that no event reported.",
    )

    @field_validator("path")
    @classmethod
    def _no_source_reads_it(cls, path: str) -> str:
        return hidden_folder(path)


Notify = Annotated[FromQueue | FromFolder, Field(discriminator="type")]


class Ready(Model):
    """What says that a file is whole. Default: files are taken as soon as they are there."""

    marker: str | None = Field(
        default=None,
        pattern=r"^[^/]+$",
        description="Name of a file, such as _SUCCESS: a folder's files are taken once it lies beside them.",
    )
    min_age_seconds: float = Field(
        default=0, ge=0, description="A file is taken this long after its last change at the earliest."
    )


class FileSource(Model):
    """One source of files and the Bronze table that they become.

    By default every column is kept as text, nested JSON as JSON text: Bronze is the original, typing is Silver's
    job, and so no file can change a column's type. A column declared with another type, and every column where
    `types: inferred`, is typed; what does not fit is kept in `_rescued_data`, never dropped.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the Bronze table and of the source.")
    path: str = Field(description="Folder of the files, below the landing root.")
    glob: str = Field(
        default="*", description="Which files to load, by their path below `path`; `*` also crosses folders."
    )
    ds: DsRule = Field(description="What says to which day (or hour, week, month: `every`) a file belongs.")
    every: Every = Field(
        default="day", description="The table's windows, one a partition: hour, day, week or month."
    )
    time_zone: TimeZone = Field(default="", description=ZONE_TEXT)
    load_from: date | None = Field(
        default=None,
        description="Files of earlier windows are left alone, such as 2026-10-05. Default: all files are loaded.",
    )
    ordered: bool = Field(
        default=False,
        description="The producer promises that each new file's path sorts behind all earlier ones (UTF-8 bytes): "
        "listings begin behind what is loaded, so a changed or late file is seen only by a full listing.",
    )
    full_listing_hours: float = Field(
        default=24, gt=0, description="How often the sensor of an `ordered` source walks through every name."
    )
    ready: Ready = Field(
        default_factory=lambda: Ready(),
        description="When a file may be read, where a producer writes for a while.",
    )
    notify: Notify | None = Field(
        default=None,
        description="Where the store's events arrive: the sensor reads them and lists only every `relist_minutes`.",
    )
    schema_mode: SchemaMode = Field(
        default="addNewColumns",
        description="What to do with a column the table does not have: add it, keep it in _rescued_data "
        "(rescue), fail that day (failOnNewColumns), or ignore it (none).",
    )
    schema_changes: dict[str, Decision] = Field(
        default_factory=dict[str, Decision],
        description="What to do with single columns that are new, gone or of another type: accept them, rescue their values, "
        "or refuse the file. Others: as `schema_mode` says.",
    )
    files: FilesMode = Field(
        default="add",
        description="What the files of one day are to each other. add: parts of the day; the rows of a loaded "
        "file stay when the file is removed. snapshot: each load of the folder replaces the earlier one, as "
        "Airbyte's full refresh does; a day's rows are those of the files that lie there, and of files named "
        "`<day>_<epoch ms>_<part>` only those with the newest epoch. A day without any file keeps its rows.",
    )
    merge: Merge | None = Field(
        default=None,
        description="Keep one row for each key: in the whole table, or in each day of a snapshot. "
        "Default: every record.",
    )
    generation: str | None = Field(
        default=None,
        description="Column that counts the sender's full refreshes, such as _airbyte_generation_id. When a newer one comes, rows of "
        "older ones leave the table if their files are gone from the landing folder.",
    )
    unwrap: str | None = Field(
        default=None,
        description="Column with a JSON object whose fields are the record's own, such as _airbyte_data where "
        "Airbyte's S3 destination does not flatten.",
    )
    clean: Clean | None = Field(
        default=None, description="When and how loaded files are moved away or deleted. Default: never."
    )
    format: Format = Field(
        default_factory=Auto, description="Format of the files. Default: by each file's extension."
    )
    compression: Compression = Field(
        default="auto",
        description="How files are compressed. auto: by the extension .gz, .bz2, .xz, .zst or .lz4.",
    )
    types: Literal["text", "inferred"] = Field(
        default="text",
        description="Types of columns that are not declared: text as written, or inferred from a sample "
        "and widened later.",
    )
    sample_files: int = Field(default=20, ge=1, description="How many files types are first inferred from.")
    sample_rows: int = Field(
        default=10_000, ge=1, description="How many rows of each sampled file types are first inferred from."
    )
    sql: str = Field(
        default="",
        description="Light SQL on the way in: one SELECT from `files` that computes or leaves out columns and rows. "
        "A column that a file lacks is null; `_row` is the record's position, `_file` the file's path.",
    )
    partitions: tuple[str, ...] | Slices = Field(
        default=(),
        description="Folders whose values become columns: [region] for a path with `region=EU`. Declared columns that the "
        "file lacks are filled in any case. `*`: all such folders. Or a second column that cuts the table beside time: {region: "
        "[eu, us]}, {tenant: dynamic}; a folder `region=eu`, or a group of that name in `ds.pattern`, says which a file is of.",
    )
    write: Write = Field(default_factory=Append, description="How rows enter the table.")
    bad_rows: Literal["quarantine", "rescue"] = Field(
        default="quarantine",
        description="A record that cannot be read: into quarantine/<name>, or as a row whose text is rescued.",
    )
    limits: BadDataLimits = Field(
        default_factory=BadDataLimits, description="How much may go wrong before a day fails."
    )
    deps: tuple[tuple[str, ...], ...] = Field(
        default=(), description="Asset keys of what writes the files, such as [[airbyte, users]]."
    )
    description: str = Field(description="What one row of the table is, for the catalog.")
    columns: dict[str, Column] = Field(
        default_factory=dict[str, Column],
        description="Columns that are always in the table, with types and descriptions.",
    )
    checks: tuple[Check, ...] = Field(
        default=(), description="Conditions that every row or day must meet, beside the key's."
    )
    owners: tuple[str, ...] = Field(
        default=(),
        description="Owners, as Dagster writes them: team:billing or an e-mail address. Default: ASGARD_OWNER.",
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="Tags of the asset, such as domain: billing."
    )
    kinds: tuple[str, ...] = Field(
        default=("file", "spark", "delta"), description="Kinds that the UI shows at the asset, such as delta."
    )
    fresh_hours: float = Field(
        default=26, gt=0, description="A table older than this many hours is shown as stale."
    )
    retries: int | None = Field(
        default=None, ge=0, description="Retries of a run's step; default: setting ASGARD_RETRIES."
    )

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        return source_name(name)

    @field_validator("path")
    @classmethod
    def _inside_landing(cls, path: str) -> str:
        clean = path.strip("/")
        if not clean or ".." in clean.split("/") or "://" in path:
            raise ValueError("must be a folder under the landing root, such as `invoices`")
        return clean

    @field_validator("columns")
    @classmethod
    def _no_technical_names(cls, columns: dict[str, Column]) -> dict[str, Column]:
        if taken := [name for name in columns if name.lower() in TECHNICAL]:
            raise ValueError(f"{', '.join(taken)}: the loader adds these itself")
        for name, column in columns.items():
            try:
                check_type(column.type)
            except TypeNameError as error:
                raise ValueError(f"{name}: {error}") from error
        return columns

    @field_validator("sql")
    @classmethod
    def _is_light(cls, sql: str) -> str:
        try:
            return check_query(sql) if sql else sql
        except QueryError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="before")
    @classmethod
    def _one_zone(cls, given: Any) -> Any:
        """A rule without a zone takes that of the table."""
        if isinstance(given, dict) and given.get("time_zone") and isinstance(given.get("ds"), dict):
            if given["ds"].get("type") in ("arrival", "column"):
                return {**given, "ds": {"time_zone": given["time_zone"], **given["ds"]}}
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> FileSource:
        if self.time_zone and isinstance(self.ds, _InZone) and self.ds.time_zone != self.time_zone:
            raise ValueError(
                f"two zones: the table's windows are of {self.time_zone}, its `ds` of {self.ds.time_zone}"
            )
        if self.ordered and self.ready != Ready():
            raise ValueError("`ordered` looks behind the last name alone, so it cannot go with `ready`")
        if self.files == "snapshot" and self.clean is not None:
            raise ValueError("`files: snapshot` reads what lies there, so `clean` would change its table")
        if self.files == "snapshot" and isinstance(self.write, Upsert):
            raise ValueError("`files: snapshot` replaces whole days, so it cannot go with `write: upsert`")
        if self.bad_rows == "rescue" and isinstance(self.write, Upsert):
            raise ValueError(
                "`bad_rows: rescue` makes rows without a key, so it cannot go with `write: upsert`"
            )
        if self.merge is not None and (isinstance(self.write, Upsert) or self.types == "inferred"):
            raise ValueError(
                "`merge` keeps one row a key of text columns; it goes with neither upsert nor types"
            )
        if self.generation and (isinstance(self.write, Upsert) or self.clean is not None):
            raise ValueError(
                "`generation` goes by the files that the sender removed, so it goes with neither `write: upsert` nor `clean`"
            )
        by_column = self.ds.name.lower() if isinstance(self.ds, ByColumn) else None
        made = outputs(self.sql) if self.sql else []
        if taken := [name for name in made if name.lower() in TECHNICAL and name.lower() != by_column]:
            raise ValueError(
                f"`sql` makes {', '.join(taken)}, which the loader adds itself; leave it out or name it otherwise"
            )
        if self.second:
            self._fits_slices(made)
        if by_column is not None and self.overwrites:
            raise ValueError("a day taken from a column cannot be overwritten by files; use append or upsert")
        return self

    def _fits_slices(self, made: list[str]) -> None:
        """Raises ValueError for what goes by keys or columns of rows: a file is of one value, as a whole."""
        if isinstance(self.ds, ByColumn):
            raise ValueError(
                f"`partitions` by {self.second} needs a `ds` that the file's path or arrival tells, not a column: a file is "
                f"loaded into one partition. Load it by days, and cut it in Silver: @silver(partitions={{'{self.second}': …}})"
            )
        if isinstance(self.write, Upsert) or self.merge is not None:
            raise ValueError(
                f"`partitions` by {self.second} goes with neither upsert nor `merge`, which move rows between partitions; use "
                "append, overwrite or `files: snapshot`, or a source of its own for each value"
            )
        if self.second in TECHNICAL or self.second in [name.lower() for name in [*self.columns, *made]]:
            raise ValueError(
                f"`partitions`: the loader adds the column {self.second} itself, from each file's path; leave it out of "
                "`columns` and `sql`, or name it otherwise"
            )

    @property
    def second(self) -> str:
        """The column that cuts the table beside time; '' if there is none."""
        return next(iter(self.slices), "")

    @property
    def slices(self) -> dict[str, tuple[str, ...] | Literal["dynamic"]]:
        """The second column and its values."""
        return self.partitions if isinstance(self.partitions, dict) else {}

    @property
    def folder_columns(self) -> tuple[str, ...]:
        """Folders whose values become columns."""
        return self.partitions if isinstance(self.partitions, tuple) else ()

    def key_of(self, path: str, modified: datetime) -> str | None:
        """The partition whose run loads the file; None where its path names none."""
        window = self.ds.day(path, modified, self.calendar)
        if window is None or not self.second:
            return window
        value = self.value_in(path)
        return slice_of(window, value) if value else None

    @property
    def missing_in_path(self) -> str:
        """What a file's path lacks that belongs to no partition."""
        return f"no day, or no {self.second} that can name a partition," if self.second else "no day"

    def value_in(self, path: str) -> str | None:
        """The value of the second column that a path names, by a group of the pattern or a folder; None where it names none
        that a partition can have."""
        found = re.search(self.ds.regex, path) if isinstance(self.ds, ByPath) else None
        value = found.groupdict().get(self.second) if found else None
        if value is None:
            folders = (part.partition("=") for part in path.split("/")[:-1])
            value = next((unquote(told) for name, _, told in folders if name.lower() == self.second), None)
        try:
            return checked_value(value) if value else None
        except ConfigError:
            return None

    @property
    def overwrites(self) -> bool:
        """Whether a load replaces its whole day."""
        return self.files == "snapshot" or self.merge is not None or isinstance(self.write, Overwrite)

    @cached_property
    def calendar(self) -> Calendar:
        """The windows of the table; their zone is that of the settings, unless the rule has its own."""
        own = self.time_zone or (self.ds.time_zone if isinstance(self.ds, _InZone) else "")
        zone = zone_named(own or Settings().time_zone)
        return Calendar(zone, self.every)

    def mode_of(self, column: str) -> SchemaMode:
        """What to do with a column that is new or of another type."""
        decided = self.schema_changes.get(column)
        return _MODES[decided] if decided else self.schema_mode

    @property
    def kept_types(self) -> list[str]:
        """Columns whose type stays, whatever files hold."""
        return [name for name, decided in self.schema_changes.items() if decided != "accept"]

    def begins_after(self, window: str) -> bool:
        """Whether a window lies before `load_from`, in the source's zone."""
        if self.load_from is None:
            return False
        first = datetime.combine(self.load_from, datetime.min.time(), self.calendar.zone)
        return self.calendar.window(window_of(window)).end <= first

    @property
    def _second_column(self) -> dict[str, Column]:
        if not self.second:
            return {}
        return {
            self.second: Column(
                type="string", description="Cuts the table beside time; the file's path tells it."
            )
        }

    @property
    def spec(self) -> TableSpec:
        """The Bronze table's contract."""
        return TableSpec(
            stage="bronze",
            name=self.name,
            description=self.description,
            key=self.write.key if isinstance(self.write, Upsert) else ("_file", "_row"),
            columns=self.columns | self._second_column | TECHNICAL,
            checks=self.checks,
            owners=self.owners,
            tags=self.tags,
            kinds=self.kinds,
            every=self.every,
            time_zone=self.time_zone,
            fresh_hours=self.fresh_hours,
            retries=self.retries,
            volatile=VOLATILE,
        )
