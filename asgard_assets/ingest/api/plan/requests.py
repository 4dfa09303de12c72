"""The plan's files: for each Spark task the requests that it is to send, fixed before any is sent.

A task reads its own file, so that nothing passes through the JVM and a task that is tried again has the same
requests as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from asgard_assets.lake import DS, Lake, Staging

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

PLAN = "_plan/requests"  # inside the staging folder; "_" hides it from whoever looks for results
PLAN_COLUMNS = (DS, "request_id", "row_key", "row", "known")
BATCH_ROWS = 2_000


class PlanFiles:
    """Deals batches of requests out to `tasks` files, one after the other; a task has all days in order."""

    def __init__(self, lake: Lake, staging: Staging, tasks: int):
        self._lake, self._folder, self._most = lake, f"{staging.path}/{PLAN}", tasks
        self._writers: list[pq.ParquetWriter] = []
        self._next = 0

    @property
    def tasks(self) -> int:
        """How many tasks have anything to send."""
        return len(self._writers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers:
            writer.close()

    def batch_rows(self, requests: int) -> int:
        """Rows of a batch that deals so many requests out evenly."""
        return max(1, min(BATCH_ROWS, -(-requests // self._most)))

    def add(self, batches: Iterable[pa.RecordBatch]) -> None:
        for batch in batches:
            if batch.num_rows:
                self._writer().write_batch(batch)

    def _writer(self) -> pq.ParquetWriter:
        import pyarrow as pa
        import pyarrow.parquet as pq

        task = self._next
        self._next = (task + 1) % self._most
        if task == len(self._writers):
            filesystem = self._lake.filesystem
            filesystem.create_dir(self._folder.removeprefix("s3://"), recursive=True)
            target = plan_file(self._folder, task)
            schema = pa.schema([(name, pa.string()) for name in PLAN_COLUMNS])
            self._writers.append(pq.ParquetWriter(target, schema, filesystem=filesystem, compression="zstd"))
        return self._writers[task]


def plan_file(folder: str, task: int) -> str:
    return f"{folder.removeprefix('s3://')}/{task:05d}.parquet"


def requests_of(lake: Lake, staging_path: str, task: int) -> Iterator[pa.RecordBatch]:
    """A task's requests in batches, read as they are asked for."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(plan_file(f"{staging_path}/{PLAN}", task), filesystem=lake.filesystem) as file:
        yield from file.iter_batches(BATCH_ROWS)
