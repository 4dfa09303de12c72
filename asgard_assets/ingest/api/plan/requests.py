"""The plan's files: for each task the requests that it is to send, fixed before any is sent.

A task reads its own file, so that nothing passes through the JVM and a task that is tried again has the same
requests as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
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
    """Deals batches of requests out to files, each to the one with the fewest; a file has all days in order.

    `tasks` says how many files there may be for so many requests. It is asked for each day again.
    """

    def __init__(self, lake: Lake, staging: Staging, tasks: Callable[[int], int]):
        self._lake, self._folder, self._tasks = lake, f"{staging.path}/{PLAN}", tasks
        self._writers: list[pq.ParquetWriter] = []
        self._files = ExitStack()
        self._rows: list[int] = []
        self._most, self._planned = 1, 0

    @property
    def tasks(self) -> int:
        """How many tasks have anything to send."""
        return len(self._writers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)

    def batch_rows(self, requests: int) -> int:
        """So many requests are to come: rows of a batch that deals them out evenly."""
        self._planned += requests
        self._most = max(1, self._tasks(self._planned))
        return max(1, min(BATCH_ROWS, -(-requests // self._most)))

    def add(self, batches: Iterable[pa.RecordBatch]) -> None:
        for batch in batches:
            if batch.num_rows:
                file = self._file()
                self._writers[file].write_batch(batch)
                self._rows[file] += batch.num_rows

    def _file(self) -> int:
        import pyarrow as pa
        import pyarrow.parquet as pq

        new = len(self._writers)
        if new >= self._most:
            return self._rows.index(min(self._rows))
        schema = pa.schema([(name, pa.string()) for name in PLAN_COLUMNS])
        file = self._files.enter_context(self._lake.whole(plan_file(self._folder, new)))
        writer = pq.ParquetWriter(file, schema, compression="zstd")
        self._writers.append(self._files.enter_context(writer))
        self._rows.append(0)
        return new


def plan_file(folder: str, task: int) -> str:
    return f"{folder}/{task:05d}.parquet"


def requests_of(lake: Lake, staging_path: str, task: int) -> Iterator[pa.RecordBatch]:
    """A task's requests in batches, read as they are asked for."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(plan_file(f"{staging_path}/{PLAN}", task), filesystem=lake.filesystem) as file:
        yield from file.iter_batches(BATCH_ROWS)
