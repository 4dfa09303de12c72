"""What a file source is: where its files lie, which day each belongs to, and the table they become."""

from __future__ import annotations

import codecs
import re
from abc import abstractmethod
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator

from asgard_assets.quality.tables import Check, Column, Model, TableSpec

SchemaMode = Literal["addNewColumns", "rescue", "failOnNewColumns", "none"]
FilesMode = Literal["add", "snapshot"]
Format = Literal["csv", "json", "parquet"]

TECHNICAL = {
    "_rescued_data": Column(
        type="string",
        description="JSON of what did not fit: malformed records, unexpected columns; else null.",
    ),
    "_file": Column(type="string", description="Source file, relative to the landing root."),
    "_row": Column(type="bigint", description="Position of the record within its file, from 0."),
    "_file_modified": Column(type="timestamp", description="When the file was last modified."),
    "_ingested_at": Column(type="timestamp", description="When this load began."),
    "ds": Column(type="string", description="Day to which the file belongs."),
}
"""Columns that the loader adds to every table; a source's own columns of these names go to `_rescued_data`."""

_EXTENSIONS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}


class _PatternRule(Model):
    @property
    @abstractmethod
    def regex(self) -> str:
        """Where in a path the day stands."""

    def day(self, path: str, modified: datetime) -> str | None:
        """The day that the path names; None where it names none."""
        match = re.search(self.regex, path)
        if match is None:
            return None
        try:
            return date(int(match["year"]), int(match["month"]), int(match["day"])).isoformat()
        except ValueError:
            return None


class ByFolder(_PatternRule):
    """A folder `ds=2026-10-05` names the day."""

    type: Literal["folder"]
    name: str = Field(default="ds", description="Name before the equals sign.")

    @property
    def regex(self) -> str:
        return rf"(?:^|/){re.escape(self.name)}=(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<day>\d{{2}})/"


class ByFilename(_PatternRule):
    """The file's name begins with the day, `2026_10_05_…`, as Airbyte's S3 destination writes it."""

    type: Literal["filename"]

    @property
    def regex(self) -> str:
        return r"(?:^|/)(?P<year>\d{4})[_-](?P<month>\d{2})[_-](?P<day>\d{2})[^/]*$"


class ByPath(_PatternRule):
    """A regular expression over the path, with the named groups `year`, `month` and `day`."""

    type: Literal["path"]
    pattern: str

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


class ByArrival(Model):
    """The UTC day on which the file was last modified; a file that changes later moves to that day."""

    type: Literal["arrival"]

    def day(self, path: str, modified: datetime) -> str | None:
        return modified.astimezone(UTC).date().isoformat()


DsRule = Annotated[ByFolder | ByFilename | ByPath | ByArrival, Field(discriminator="type")]


class CsvOptions(Model):
    """How delimited text is read. The first record is the header."""

    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="Default: comma, tab in .tsv."
    )
    quote: str = Field(default='"', min_length=1, max_length=1)
    escape: str | None = Field(default=None, min_length=1, max_length=1, description="Beside doubled quotes.")
    encoding: str = Field(default="utf8", description="A Python codec name.")
    null_values: tuple[str, ...] = Field(default=("",), description="Unquoted text that means null.")

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            codecs.lookup(encoding)
        except LookupError as error:
            raise ValueError(f"{encoding} is no codec that Python knows, such as utf8 or latin-1") from error
        return encoding


class Merge(Model):
    """Which of several versions of a record stays: one row a key, the newest."""

    key: tuple[str, ...] = Field(min_length=1, description="Primary key. A row without it always stays.")
    cursor: str | None = Field(
        default=None,
        description="Column that tells the newest version: a number, an instant or text that sorts.",
    )
    read_at: str | None = Field(
        default="_airbyte_extracted_at", description="Column that decides where the cursor does not."
    )
    deleted: str | None = Field(
        default=None, description="Column that is not null where the record was deleted at its source."
    )


class FileSource(Model):
    """One source of files and the Bronze table that they become.

    Every column of the source is kept as text, nested JSON as JSON text: Bronze is the original, typing is
    Silver's job, and so no file can change a column's type.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the Bronze table and of the source.")
    path: str = Field(description="Folder under the landing root.")
    glob: str = Field(default="*", description="Which files, by path below `path`; `*` also crosses folders.")
    ds: DsRule = Field(description="Which day a file belongs to.")
    ordered: bool = Field(
        default=False,
        description="The producer promises that each new file's path sorts behind all earlier ones (UTF-8 bytes): "
        "listings begin behind what is loaded, so a changed or late file is seen only by a full listing.",
    )
    full_listing_hours: float = Field(
        default=24, gt=0, description="How often the sensor of an `ordered` source walks through every name."
    )
    schema_mode: SchemaMode = Field(
        default="addNewColumns",
        description="What to do with a column the table does not have: add it, keep it in _rescued_data "
        "(rescue), fail that day (failOnNewColumns), or ignore it (none).",
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
        description="Keep one row a key: in the whole table, or in each day of a snapshot. Default: every record.",
    )
    unwrap: str | None = Field(
        default=None,
        description="Column with a JSON object whose fields are the record's own, such as _airbyte_data where "
        "Airbyte's S3 destination does not flatten.",
    )
    csv: CsvOptions = CsvOptions.model_validate({})
    deps: tuple[tuple[str, ...], ...] = Field(default=(), description="Asset keys of what writes the files.")
    description: str
    columns: dict[str, Column] = Field(
        default_factory=dict[str, Column],
        description="Known columns: always in the table, with these spellings.",
    )
    checks: tuple[Check, ...] = ()
    owners: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    kinds: tuple[str, ...] = ("file", "spark", "delta")
    fresh_hours: float = Field(default=26, gt=0)

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
        if typed := [name for name, column in columns.items() if column.type != "string"]:
            raise ValueError(
                f"{', '.join(typed)}: columns of a file source are strings; Silver gives them types"
            )
        return columns

    @property
    def spec(self) -> TableSpec:
        """The Bronze table's contract."""
        return TableSpec(
            stage="bronze",
            name=self.name,
            description=self.description,
            key=("_file", "_row"),
            columns=self.columns | TECHNICAL,
            checks=self.checks,
            owners=self.owners,
            tags=self.tags,
            kinds=self.kinds,
            fresh_hours=self.fresh_hours,
        )


def format_of(path: str) -> tuple[Format | None, str]:
    """Format and compression (`gzip` or '') by the file's extension; None where it is not one we read."""
    lower = path.lower()
    compression = "gzip" if lower.endswith(".gz") else ""
    bare = lower.removesuffix(".gz")
    dot = bare.rfind(".")
    return _EXTENSIONS.get(bare[dot:]) if dot > bare.rfind("/") else None, compression
