"""Sources in a YAML file that is in no project: an API is run, previewed and looked at; files are previewed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from asgard_assets.documents import refuse_bombs
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.plan.calendar import calendar_of, today, usual_days, with_values
from asgard_assets.ingest.api.plan.checkpoint import cursor_state
from asgard_assets.ingest.api.source.config import load, located
from asgard_assets.ingest.api.source.models import ApiSource, Mode
from asgard_assets.lake import Lake
from asgard_assets.windows import parse_keys, stretches

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from asgard_assets.ingest.api.preview import DryRun, Preview
    from asgard_assets.ingest.api.table.figures import Summary
    from asgard_assets.ingest.api.table.progress import Progress
    from asgard_assets.ingest.files.source.models import FileSource
    from asgard_assets.operations.state import Backlog, SourceState

_FILES = "asgard_assets.components.files.FileIngest"


@dataclass(frozen=True)
class ApiFile:
    """The file of an API source, and what a person said about it.

    `rows`: parents, as Parquet. `name`: which source, where the file of a project holds several.
    """

    path: Path
    partitions: str = ""
    rows: str | None = None
    limit: int | None = None
    record: Path | None = None
    replay: Path | None = None
    cursor: str | None = None
    name: str | None = None

    def source(self) -> ApiSource:
        """The source, with its recording. Raises ConfigError with file and line."""
        if self.record and self.replay:
            raise ConfigError("give --record or --replay, not both")
        found = load(self.path, self.name)
        if self.record or self.replay:
            folders = {"record": self.record and str(self.record), "replay": self.replay and str(self.replay)}
            found = found.model_copy(update={"transport": found.transport.model_copy(update=folders)})
        return found

    def days(self, source: ApiSource) -> list[str]:
        """The partitions that are meant; without a word about them, the usual ones."""
        if not self.partitions:
            return with_values(source, usual_days(source, today(source.every, source.time_zone)))
        first, dots, last = self.partitions.partition("...")
        calendar, now = calendar_of(source), today(source.every, source.time_zone)
        return parse_keys(f"{first}...{now}" if dots and not last else self.partitions, calendar)


def dry_run(given: ApiFile, mode: Mode) -> DryRun:
    """What a run would send. Sends nothing."""
    from asgard_assets.ingest.api.preview import dry_run as plan

    source = given.source()
    with located(given.path, given.name):
        return plan(Lake.from_settings(), source, given.days(source), mode, given.rows, given.limit)


def run(
    given: ApiFile, mode: Mode, tell: Callable[[Progress], None], days: list[str] | None = None
) -> Summary:
    """Send what `mode` asks for, and publish it."""
    from asgard_assets.ingest.api.pipeline import run_pipeline

    source = given.source()
    with located(given.path, given.name), _session() as spark:
        return run_pipeline(
            spark, source, given.rows, days=days or given.days(source), mode=mode, limit=given.limit,
            cursor=given.cursor, on_progress=tell,
        )  # fmt: skip


def missing(given: ApiFile) -> list[list[str]]:
    """Partitions that were never published, in gapless stretches."""
    source, lake = given.source(), Lake.from_settings()
    days = given.days(source)
    published = lake.epochs(source.sink.stage, source.sink.name, days)
    return stretches([day for day in days if not published[day]], calendar_of(source))


def preview(given: ApiFile) -> Preview:
    """A few requests of one partition and their answers. Writes nothing."""
    from asgard_assets.ingest.api.preview import preview as look

    source = given.source()
    days = given.days(source) if given.partitions else [today(source.every, source.time_zone)]
    if len(days) > 1:
        raise ConfigError("a preview is of one partition: give one day with --partitions")
    with located(given.path, given.name):
        return look(Lake.from_settings(), source, days[0], given.rows, given.limit or 3)


def state(path: Path) -> SourceState:
    """Where the source of a file stands, as the lake tells."""
    from asgard_assets.operations.sources import Kind
    from asgard_assets.operations.state import SourceState

    lake = Lake.from_settings()
    if source := file_source_at(path):
        return SourceState(source.name, Kind.files, "", (), _backlog(lake, source))
    api = load(path)
    if api.incremental is None:
        cursor_state(lake, api)  # says that there is no cursor, and what is missing
    return SourceState(api.name, Kind.api, "", (), cursor=cursor_state(lake, api))


def file_source_at(path: Path) -> FileSource | None:
    """The source of files that a YAML file declares; None where it is an API's. Raises ConfigError with the line."""
    try:
        text = path.read_text(encoding="utf-8")
        refuse_bombs(text, str(path))
        document: Any = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        load(path)  # says what is wrong with the file, and where
        raise
    if not isinstance(document, dict):
        return None
    inner = document.get("attributes") if document.get("type") == _FILES else document
    if not isinstance(inner, dict) or not {"path", "ds"} <= inner.keys() or "endpoint" in inner:
        return None
    # Here, so that a small job that reads an API does not pay for it.
    from asgard_assets.ingest.files.source.models import FileSource

    try:
        return FileSource.model_validate({key: value for key, value in inner.items() if key != "pull"})
    except ValidationError as error:
        text = path.read_text(encoding="utf-8").splitlines()
        problems = []
        for found in error.errors(include_input=False, include_url=False):
            field = str(found["loc"][0]) if found["loc"] else "the source"
            line = next((n for n, t in enumerate(text, 1) if t.strip().startswith(f"{field}:")), 1)
            where = ".".join(map(str, found["loc"])) or field
            problems.append(f"{path}:{line}: {where}: {found['msg'].removeprefix('Value error, ')}")
        raise ConfigError("\n".join(problems), file=str(path)) from None


def _backlog(lake: Lake, source: FileSource) -> Backlog:
    from asgard_assets.ingest.files.landing import Landing
    from asgard_assets.ingest.files.plan.listing import scan
    from asgard_assets.operations.state import backlog_of

    return backlog_of([scan(lake, Landing.from_settings(), source, full=True, max_files=10_000_000)])


@contextmanager
def _session() -> Iterator[Callable[[], SparkSession]]:
    """What opens a Spark session; one that was opened is stopped at the end."""
    opened: list[SparkSession] = []

    def session() -> SparkSession:
        from asgard_assets.spark.session import open_session

        opened.append(open_session())
        return opened[-1]

    try:
        yield session
    finally:
        for spark in opened:
            spark.stop()
