"""From SQL that somebody sends to a submission: what it reads is found, the definition is kept, the run is queued."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from asgard_assets.components.platform.definitions import maker_of
from asgard_assets.components.platform.sources import ManagedIngestion, kept
from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.operations.ingestion.airbyte import Airbyte, Ingestion, Sink
from asgard_assets.operations.transforms.submissions import Submission, Submissions, queued, run_id_of
from asgard_assets.settings import Settings
from asgard_assets.transforms import managed
from asgard_assets.transforms.managed import Size, Step, Transform, View
from asgard_assets.transforms.statements import parse, view_of

SOURCE_DATA = "source_data"
_TABLE = re.compile(r"(?:iceberg\.)?(silver|gold)[./]([a-z][a-z0-9_]{0,62})")
_PATH = re.compile(r"(?:s3a?://)?[A-Za-z0-9_][A-Za-z0-9._=/-]*")
_DEFAULT_EXECUTORS = 2


@dataclass(frozen=True)
class Wanted:
    """A transform as it was asked for."""

    sql: str
    write_mode: Literal["overwrite", "append"] = "overwrite"
    output_table: str = ""
    workspace: str = "default"
    source_path: str = ""
    size: Size = field(default_factory=Size)
    account: str = ""
    idempotency_key: str = ""
    engine: Literal["spark", "dbt"] = "spark"
    key: tuple[str, ...] = ()


def submit(
    wanted: Wanted,
    lake: Lake,
    airbyte: Callable[[], Airbyte],
    submissions: Submissions,
    clock: float | None = None,
    databases: Mapping[str, str] | None = None,
) -> Submission:
    """Queue a run of it. `databases`: tables of the streams that the project reads itself. Raises ConfigError, NotFoundError or ConflictError; then nothing was kept."""
    script = parse(wanted.sql, "duckdb" if wanted.engine == "dbt" else "spark")
    if wanted.engine == "dbt" and (script.names or len(script.statements) > 1):
        raise ConfigError("a dbt model is one query over tables of the lake, named as stage.table")
    tables, streams = _known_tables(lake, script.tables, wanted.workspace, databases or {})
    reads = [View(name=view_of(name), table=table) for name, table in tables.items()]
    if script.names or streams:
        own = {} if wanted.source_path else dict(databases or {})
        landed = _landed(airbyte(), wanted.workspace, wanted.source_path)
        reads += _views(script.names, landed, own)
        for name, view in zip(
            streams, _views([name.partition("/")[2] for name in streams], landed, own), strict=True
        ):
            reads.append(view.model_copy(update={"name": view_of(name)}))
    stage, name = _target(wanted)
    transform = Transform(
        stage=stage,
        name=name,
        sql=wanted.sql,
        steps=tuple(Step(sql=one.sql, view=one.view) for one in script.statements),
        reads=tuple(reads),
        engine=wanted.engine,
        key=wanted.key,
        write_mode=wanted.write_mode,
        size=wanted.size,
        workspace=wanted.workspace,
        owner=wanted.account,
    )
    _refuse_foreign(lake, transform)
    run_id = run_id_of(wanted.account, wanted.idempotency_key)
    if (earlier := submissions.get(run_id)) is not None:
        return _repeated(lake, earlier, transform)
    revision = managed.save(lake, transform)
    made = Submission(
        run_id,
        transform.table,
        revision.number,
        clock or time.time(),
        wanted.workspace,
        wanted.account,
        wanted.size.executor_instances or _DEFAULT_EXECUTORS,
    )
    return queued(submissions, made)


def _repeated(lake: Lake, earlier: Submission, transform: Transform) -> Submission:
    """What one idempotency key has made before. Raises ConflictError where it asked for something else."""
    same = earlier.table == transform.table
    if not same or managed.load(lake, transform.name, earlier.revision).transform != transform:
        raise ConflictError("this Idempotency-Key was sent before with another request; send a new key")
    return earlier


def _known_tables(
    lake: Lake, named: Sequence[str], workspace: str, streams: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The table behind each name; and names of Bronze that are no table, but may be a stream: `bronze.orders`.

    Raises ConfigError where a table is not there, or belongs to another workspace.
    """
    found, others = dict[str, str](), list[str]()
    known = {f"{stage}/{name}" for stage, name in lake.tables()} if named else set[str]()
    for name in named:
        stage, _, plain = name.partition("/")
        mine = name in known and workspace_of(lake, name) in ("", workspace)
        table = name if mine else streams.get(plain, "") if stage == "bronze" else ""
        if table:
            found[name] = table
        elif stage == "bronze" and name not in known:
            others.append(name)
        else:
            raise ConfigError(f"{stage}.{plain} is no table that this workspace may read")
    return found, others


def workspace_of(lake: Lake, table: str) -> str:
    """Whose table it is; empty for one that the project's own files make: all may read it."""
    stage, _, name = table.partition("/")
    if stage == "bronze":
        made = (one for one in kept(lake, ManagedIngestion) if name in one.tables.values())
        if (one := next(made, None)) is not None:
            return one.workspace
        sent = maker_of(lake, name)
        return sent.workspace if sent else ""
    try:
        found = managed.load(lake, name).transform
    except ConfigError:
        return ""
    return found.workspace if found.table == table else ""


@dataclass(frozen=True)
class Landed:
    """A stream's folder below the landing root, under the name that SQL may give it."""

    name: str
    folder: str


def _landed(airbyte: Airbyte, workspace: str, path: str = "") -> list[Landed]:
    """The streams of every S3 sink, those of the first sink first; or the one folder that was named.

    Raises NotFoundError where there is no sink.
    """
    sinks = airbyte.sinks(workspace)
    if not sinks:
        raise NotFoundError(f"there is no S3 sink in the workspace {workspace}; make one with POST /sink")
    landing = Settings().landing_root
    return (
        [_given(path, sinks, landing)] if path else streams_of(sinks, airbyte.ingestions(workspace), landing)
    )


def streams_of(sinks: Sequence[Sink], ingestions: Sequence[Ingestion], landing: str = "") -> list[Landed]:
    """In the order of the sinks, then of the ingestions into each."""
    return [
        Landed(re.sub(r"[^a-z0-9_]", "_", stream.lower()), sink.folder(stream, landing))
        for sink in sinks
        for one in ingestions
        if one.destination_id == sink.destination_id
        for stream in one.streams
    ]


def _given(path: str, sinks: Sequence[Sink], landing: str) -> Landed:
    """A folder that the request names itself. Raises ConfigError where it lies in no sink of the workspace."""
    folder = re.sub(r"^s3a?://", "", path).strip("/")
    known = [sink.folder("", landing) for sink in sinks]
    inside = any(f"{folder}/".startswith(f"{one}/") for one in known if one)
    if not _PATH.fullmatch(path) or {"..", ".", ""} & set(folder.split("/")) or not inside:
        raise ConfigError(
            f"source_path: {path[:100]!r} is no folder in a sink of this workspace; they are {', '.join(known)}"
        )
    return Landed(re.sub(r"[^a-z0-9_]", "_", folder.rsplit("/", 1)[-1].lower()), folder)


def _views(names: Sequence[str], streams: Sequence[Landed], tables: Mapping[str, str]) -> list[View]:
    """Views of streams: landing files, or Bronze tables of sources that the project reads itself."""
    folders: dict[str, str] = {}
    for stream in streams:
        folders.setdefault(stream.name, stream.folder)
    if streams:
        folders.setdefault(SOURCE_DATA, streams[0].folder)
    elif tables:
        tables = {**tables, SOURCE_DATA: next(iter(tables.values()))}
    for name in names:
        if name not in folders and name not in tables:
            shown = ", ".join([*folders, *tables]) or "none: start an ingestion with POST /ingestion"
            raise ConfigError(
                f"{name} is no stream of the sinks; they have: {shown}. Tables are named stage.table"
            )
    return [
        View(name=name, folder=folders[name]) if name in folders else View(name=name, table=tables[name])
        for name in names
    ]


def _target(wanted: Wanted) -> tuple[Literal["silver", "gold"], str]:
    if wanted.output_table:
        match = _TABLE.fullmatch(wanted.output_table.lower())
        if match is None:
            raise ConfigError(
                f"output_table: {wanted.output_table[:100]!r} is not possible; write silver.name or iceberg.silver.name, "
                "the name in lower case with letters, digits and _"
            )
        return ("gold" if match[1] == "gold" else "silver"), match[2]
    digest = hashlib.sha256(f"{wanted.workspace}\0{wanted.sql}".encode()).hexdigest()[:8]
    return ("gold", f"model_{digest}") if wanted.engine == "dbt" else ("silver", f"transform_{digest}")


def _refuse_foreign(lake: Lake, transform: Transform) -> None:
    """A table that the project's own files make is not overwritten, nor one of another workspace."""
    try:
        known = managed.load(lake, transform.name).transform
    except ConfigError:
        known = None
    if known is None and lake.version(transform.stage, transform.name) >= 0:
        raise ConflictError(
            f"{transform.table} is made by the project's own files; choose another output_table"
        )
    if known and (known.stage, known.workspace) != (transform.stage, transform.workspace):
        raise ConflictError(
            f"{known.table} belongs to the workspace {known.workspace}; choose another output_table"
        )
