"""The pieces of a load: read by Spark tasks, near-equal in bytes, or by the driver where there is little to read.

A Spark job for a few small files is nearly all start-up: scheduling it, and a Python worker that imports what the
driver has already. The work is the same function in both places.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.plan.progress import Meter
from asgard_assets.ingest.files.plan.read_task import Outcome, Part, Piece, ReadTask, run_task
from asgard_assets.ingest.files.plan.splits import split
from asgard_assets.ingest.files.readers import how_to_read, read_file
from asgard_assets.ingest.files.readers.isolated import is_binary, run_isolated
from asgard_assets.ingest.files.shape.conform import Conformer, ObservedTypes, Shape
from asgard_assets.ingest.files.shape.schema import evolve
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.ingest.files.source.query import QueryError
from asgard_assets.lake.sql import type_name

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

TASK_BYTES = 16 << 20
_TASK_FILES = 2_000
_DRIVER_BYTES = 4 << 20
DRIVER_FILES = 500
"""So few files are read by the driver."""


def sample(
    landing: Landing,
    source: FileSource,
    declared: dict[str, pa.DataType],
    files: Sequence[File],
    now: datetime,
) -> dict[str, pa.DataType]:
    """Columns of a table that does not exist yet: declared ones, and what some rows of some files show, spread over
    all of them, each of a type that fits those files."""
    step = max(1, len(files) // source.sample_files)
    chosen = files[::step][: source.sample_files]
    about = _Sampling(landing, source, declared, now)
    texts = [(json.dumps(asdict(file)), file.size) for file in chosen]
    if any(is_binary(source, file) for file in chosen):
        told = run_isolated(sample_files, texts, about, lambda *_: json.dumps(asdict(ObservedTypes())))
    else:
        told = sample_files((text for text, _ in texts), about)
    sampled = [ObservedTypes(**json.loads(text)) for text in told]
    written = [shown for seen in sampled for shown in (seen.columns, seen.misfits)]
    return evolve(declared, source.columns, written, [s.wants for s in sampled])


@dataclass(frozen=True)
class _Sampling:
    landing: Landing
    source: FileSource
    declared: dict[str, pa.DataType]
    now: datetime


def sample_files(texts: Iterable[str], about: _Sampling) -> Iterator[str]:
    """What some rows of each file show, as JSON. Each file by itself: what the first holds says nothing of the others."""
    source = about.source
    for text in texts:
        file, seen = File(**json.loads(text)), ObservedTypes()
        conformer, rows = Conformer(source, Shape(about.declared), about.now), 0
        try:
            how = how_to_read(file.path, source.format, source.compression, source.types == "text")
            for records in read_file(about.landing, file.path, how):
                conformer.conform(records, file, seen)
                rows += len(records.rows)
                if rows >= source.sample_rows:
                    break
        except (SourceError, QueryError) as error:
            log.info("%s: no sample of %s: %s", source.name, file.path, error)
        yield json.dumps(asdict(seen))


def read_pieces(
    spark: Callable[[], SparkSession],
    task: ReadTask,
    pieces: Sequence[Piece],
    driver_files: int,
    meter: Meter | None = None,
) -> tuple[list[Outcome], list[Part], dict[str, pa.DataType]]:
    """All pieces, those again whose columns need another type or whose parts do not add up; and the columns then."""
    source, before = task.source, task.shape.fields
    cut, expected = split(spark, task.landing, source, pieces)
    if meter is not None:
        meter.begin(len(cut), sum(_weight(piece) for piece in cut))
    outcomes, parts = _read(spark, task, cut, driver_files, meter)
    wrong = {
        o.path
        for o in outcomes
        if not o.error and expected.get((o.path, o.start or 0), o.records) != o.records
    }
    fixed = [*source.columns, *source.kept_types]
    widens = source.schema_mode == "addNewColumns"
    fields = evolve(
        before,
        fixed if widens else [*fixed, *before],
        [o.columns for o in outcomes if not o.error],
        [o.wants for o in outcomes if not o.error],
    )
    names = {name: type_name(kind) for name, kind in fields.items()}
    spelled = {name.lower() for name in names}
    stale = set[str]()
    for o in outcomes:
        other = any(names.get(n) != kind for n, kind in o.columns.items() if n.lower() in spelled)
        wider = any(n in names and names[n] != o.columns.get(n) for n in o.wants)
        if not o.error and (other or wider):
            stale.add(o.path)
    if not (stale or wrong):
        return outcomes, parts, fields
    # A part holds several files: all of them are read again.
    while more := {
        f for p in parts if not stale.isdisjoint(p.files) or not wrong.isdisjoint(p.files) for f in p.files
    } - (stale | wrong):
        stale |= more
    again = stale | wrong
    log.info("%s: %d files are read again with the schema that all of them need", source.name, len(again))
    kept = [piece for piece in pieces if piece.file.path in again]
    small = [piece for piece in cut if piece.file.path in again - wrong]
    small += [piece for piece in kept if piece.file.path in wrong]
    more_outcomes, more_parts = _read(
        spark, replace(task, shape=Shape(fields, fixed=True)), small, driver_files
    )
    return (
        [o for o in outcomes if o.path not in again] + more_outcomes,
        [p for p in parts if again.isdisjoint(p.files)] + more_parts,
        fields,
    )


def _read(
    spark: Callable[[], SparkSession],
    task: ReadTask,
    pieces: Sequence[Piece],
    driver_files: int,
    meter: Meter | None = None,
) -> tuple[list[Outcome], list[Part]]:
    if not pieces:
        return [], []
    small = sum(piece.file.size for piece in pieces) <= _DRIVER_BYTES and len(pieces) <= driver_files
    told = _by_driver(task, pieces) if small else _by_spark(spark(), task, pieces)
    outcomes, parts = list[Outcome](), list[Part]()
    weights = {
        (piece.file.path, piece.part.start if piece.part else None): _weight(piece) for piece in pieces
    }
    for text in told:
        found = json.loads(text)
        if "part" in found:
            parts.append(Part(**found["part"] | {"files": tuple(found["part"]["files"])}))
        else:
            outcome = Outcome(**found["outcome"])
            outcomes.append(outcome)
            if meter is not None:
                meter.read(weights.get((outcome.path, outcome.start), 0), outcome.rows)
    return sorted(outcomes, key=lambda o: (o.ds, o.path, o.start or 0)), parts


def _weight(piece: Piece) -> int:
    """Its bytes."""
    return piece.part.end - piece.part.start if piece.part else piece.file.size


def _by_driver(task: ReadTask, pieces: Sequence[Piece]) -> Iterator[str]:
    if any(is_binary(task.source, piece.file) for piece in pieces):
        return _isolated((piece.row() for piece in pieces), task)
    return run_task((piece.row() for piece in pieces), task)


def _isolated(texts: Iterable[str], task: ReadTask) -> Iterator[str]:
    return run_isolated(run_task, [(text, Piece.of(text).file.size) for text in texts], task, _lost)


def _lost(text: str, reason: str) -> str:
    piece = Piece.of(text)
    path = piece.file.path
    error = f"{path} {reason}; it was left out"
    return json.dumps(
        {"outcome": asdict(Outcome(path, piece.ds, piece.part.start if piece.part else None, error=error))}
    )


def _by_spark(spark: SparkSession, task: ReadTask, pieces: Sequence[Piece]) -> Iterator[str]:
    """By Spark's own Python workers. Where one of them ends, once more, each with a process of its own for the files."""
    try:
        return iter(list(_spark_job(spark, task, pieces, run_task)))
    except Exception as error:
        binary = any(is_binary(task.source, piece.file) for piece in pieces)
        if not binary or not re.search("Python worker (exited|crashed)|ExecutorLost", str(error)):
            raise
        log.warning("%s: a file ended the process that read it; reading once more, apart", task.source.name)
    return _spark_job(spark, task, pieces, _isolated)


def _spark_job(
    spark: SparkSession,
    task: ReadTask,
    pieces: Sequence[Piece],
    read: Callable[[Iterable[str], ReadTask], Iterator[str]],
) -> Iterator[str]:
    rows, size, files, number = [], 0, 0, 0
    for piece in pieces:
        weight = _weight(piece)
        if size > TASK_BYTES or files >= _TASK_FILES:
            number, size, files = number + 1, 0, 0
        size, files = size + weight, files + 1
        rows.append((number, piece.row()))
    frame = spark.createDataFrame(rows, "task int, piece string")
    frame = frame.coalesce(1) if number == 0 else frame.repartitionById(number + 1, frame["task"])

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        texts = (text for batch in batches for text in batch.column("piece").to_pylist())
        told = list(read(texts, task))
        if told:
            yield pa.record_batch([pa.array(told, pa.string())], names=["told"])

    for row in frame.select("piece").mapInArrow(work, "told string").collect():
        yield row["told"]
