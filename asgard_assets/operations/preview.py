"""`asgard preview`: rows of files and databases as a load would make them, of an API from a few requests, of a table as
published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.landing.area import walk
from asgard_assets.ingest.files.plan.listing import chosen, day_of, scan
from asgard_assets.ingest.files.source.models import TECHNICAL, FileSource
from asgard_assets.lake import Lake
from asgard_assets.operations.partitions import Span
from asgard_assets.operations.sources import Kind
from asgard_assets.operations.state import file_names
from asgard_assets.operations.targets import Target
from asgard_assets.operations.todo import Finder

if TYPE_CHECKING:
    import pyarrow as pa

    from asgard_assets.ingest.api.preview import Preview as Answers
    from asgard_assets.ingest.api.source.models import ApiSource

_FILES = 5
_LISTED = 10_000


@dataclass(frozen=True)
class SchemaChange:
    """One difference between what the files hold and the table."""

    kind: str
    column: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Preview:
    """The first rows, every column with its type, and what would change. `bad` are records that do not fit."""

    rows: pa.Table
    columns: Mapping[str, str]
    changes: tuple[SchemaChange, ...]
    files: tuple[str, ...]
    bad: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict[str, str])
    new_table: bool = False


@dataclass(frozen=True)
class FilesPreview:
    """Of a file source. `waiting`: its files wait to be loaded; else they are loaded already."""

    source: str
    preview: Preview
    waiting: bool


@dataclass(frozen=True)
class ApiPreview:
    """Of an API: a few requests and their answers."""

    source: ApiSource
    answers: Answers


@dataclass(frozen=True)
class TablePreview:
    """Of a table: the first rows of its newest partition, as published, and its columns with their types.

    `origin`: where the rows are from, such as a database. `changes`: what a load would change of the columns.
    """

    asset: str
    columns: Mapping[str, str]
    rows: tuple[Mapping[str, Any], ...]
    partition: str = ""
    origin: str = "as published"
    changes: tuple[SchemaChange, ...] = ()


Shown = FilesPreview | ApiPreview | TablePreview


def previews(project: Finder, target: Target, span: Span | None, limit: int | None) -> Iterator[Shown]:
    """Each source and table of the target. Writes nothing."""
    own = {asset for source in target.sources for asset in (*source.assets, *source.tables)}
    for source in target.sources:
        for name in file_names(source):
            yield _of_files(project.lake, project.landing, project.catalog.files[name], span, limit or 10)
        if source.kind is Kind.api:
            yield _of_api(project, source.name, span, limit or 3)
        if source.kind is Kind.database:
            wanted = [asset for asset in target.assets if asset in source.assets]
            yield from (_of_database(project, asset, limit or 10) for asset in wanted)
    for asset in target.assets:
        if asset not in own:
            yield _of_table(project.lake, asset, span, limit or 10)


def preview_of_files(source: FileSource, span: Span | None, limit: int) -> FilesPreview:
    """A file source that is in no project: of the files that lie in its folder."""
    return _of_files(Lake.from_settings(), Landing.from_settings(), source, span, limit)


def preview_in(lake: Lake, landing: Landing, source: FileSource, limit: int) -> FilesPreview:
    """A file source of any landing folder, whether it was made or not."""
    return _of_files(lake, landing, source, None, limit)


def _of_files(
    lake: Lake, landing: Landing, source: FileSource, span: Span | None, limit: int
) -> FilesPreview:
    """Of the files that wait to be loaded, or of those that lie there where none waits."""
    todo = scan(lake, landing, source, full=True, max_files=_LISTED).todo
    found = [file for day, each in todo.items() if span is None or span.holds(day) for file in each]
    waiting = bool(found)
    if not found:
        found = [
            file
            for file in islice(walk(landing, source), _LISTED)
            if chosen(source, file.path)
            and (span is None or span.holds(day_of(source, file) or "1970-01-01"))
        ]
    return FilesPreview(source.name, preview(lake, landing, source, found, limit), waiting)


def _of_api(project: Finder, name: str, span: Span | None, limit: int) -> ApiPreview:
    """With the logins of its `defs.yaml`: the project's own view of a source is without them."""
    from asgard_assets.operations.outside import source_file as outside

    path = source_file(name)
    given = outside.ApiFile(path, span.text if span else "", limit=limit, name=name)
    return ApiPreview(given.source(), outside.preview(given))


def source_file(name: str) -> Path:
    """The `defs.yaml` of an API source of the project. Raises ConfigError where there is none."""
    import yaml

    from asgard_assets.project import current

    for path in sorted(current().defs.rglob("defs.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            attributes = document.get("attributes") if isinstance(document, dict) else None
            source = attributes.get("source") if isinstance(attributes, dict) else None
            if isinstance(source, dict) and source.get("name") == name:
                return path
    raise ConfigError(
        f"no defs.yaml of the project declares the API source {name}: give the path of its file"
    )


def _of_database(project: Finder, asset: str, limit: int) -> TablePreview:
    from asgard_assets.ingest.sql.preview import preview as read
    from asgard_assets.lake.sql import type_name

    source = project.catalog.database_of(asset)
    assert source is not None
    found = read(project.lake, source, source.named(asset.partition("/")[2]), limit)
    columns = {name: type_name(kind) for name, kind in found.shape.columns.items()}
    changes = [SchemaChange(c.kind, c.column, c.before, c.after) for c in found.shape.changes]
    about = "" if found.about_rows is None else f" (about {found.about_rows:,} rows)"
    return TablePreview(
        asset,
        columns,
        tuple(found.rows.to_pylist()),
        origin=f"in {source.reads}{about}",
        changes=tuple(changes),
    )


def _of_table(lake: Lake, asset: str, span: Span | None, limit: int) -> TablePreview:
    import pyarrow as pa

    from asgard_assets.lake.sql import type_name

    stage, _, name = asset.partition("/")
    table = lake.table(stage, name)
    if table is None:
        return TablePreview(asset, {}, ())
    columns = {field.name: type_name(field.type) for field in pa.schema(table.schema().to_arrow())}
    with lake.connect(tables=[asset]) as connection:
        relation, newest = f'"{stage}"."{name}"', ""
        if "ds" in columns:
            days = [row[0] for row in connection.execute(f"select distinct ds from {relation}").fetchall()]
            newest = max((day for day in days if span is None or span.holds(day)), default="")
        where = f" where ds = '{newest}'" if newest else ""
        rows = (
            connection.execute(f"select * from {relation}{where} limit {limit:d}")
            .to_arrow_table()
            .to_pylist()
        )
    return TablePreview(asset, columns, tuple(rows), newest)


def preview(
    lake: Lake, landing: Landing, source: FileSource, files: Sequence[File], rows: int = 10
) -> Preview:
    """Read the beginning of some of these files, the newest among them, with the loader's own readers."""
    import pyarrow as pa

    from asgard_assets.ingest.files.load import known_columns, present_columns
    from asgard_assets.ingest.files.plan.schedule import sample
    from asgard_assets.ingest.files.readers import how_to_read, read_file
    from asgard_assets.ingest.files.shape.conform import Conformer, ObservedTypes, Shape
    from asgard_assets.ingest.files.shape.schema import differences, evolve
    from asgard_assets.ingest.files.source.query import QueryError
    from asgard_assets.lake.sql import type_name

    table = lake.table("bronze", source.name)
    present = present_columns(pa.schema(table.schema().to_arrow()), source.second) if table else {}
    known = known_columns(source, present)
    now = datetime.now(UTC)
    newest = sorted(files, key=lambda file: file.modified_us)[-_FILES:]
    if not present and source.types == "inferred":
        known = sample(landing, source, known, newest, now)
    conformer = Conformer(source, Shape(known), now)
    seen, tables, bad, unreadable = list[ObservedTypes](), list[pa.Table](), list[str](), dict[str, str]()
    for file in newest:
        seen.append(ObservedTypes())
        taken = 0
        try:
            landing.refuse_outside(file.path)
            how = how_to_read(file.path, source.format, source.compression, source.types == "text")
            for records in read_file(landing, file.path, how):
                found = conformer.conform(records, file, seen[-1])
                bad += [f"{file.path} record {b.row}: {b.reason}" for b in found.bad]
                tables.append(found.table.slice(0, rows))
                taken += found.table.num_rows
                if taken >= max(rows, source.sample_rows):
                    break
        except (SourceError, QueryError) as error:
            unreadable[file.path] = str(error)
    after = evolve(known, source.columns, [s.columns for s in seen], [s.wants for s in seen])
    used = {name for s in seen for name in s.columns}
    absent = tuple(name for name in present if name not in used) if used else ()
    stuck = {name: kind for s in seen for name, kind in s.misfits.items()}
    changes = [
        SchemaChange(c.kind, c.column, c.before, c.after) for c in differences(present, after, absent, stuck)
    ]
    shown = pa.concat_tables(tables, promote_options="permissive").slice(0, rows) if tables else pa.table({})
    return Preview(
        shown,
        {name: type_name(kind) for name, kind in after.items() if name not in TECHNICAL},
        tuple(changes) if present else (),
        tuple(file.path for file in newest),
        tuple(bad[:20]),
        unreadable,
        table is None,
    )
