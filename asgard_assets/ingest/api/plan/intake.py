"""Plan rows on their way to the workers of one task."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


class Intake:
    """Plan rows for many workers: one Arrow batch at hand, one on its way, never more."""

    def __init__(self, batches: Iterator[pa.RecordBatch]):
        self._batches = batches
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._lock = asyncio.Lock()
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._coming: asyncio.Future[pa.RecordBatch | None] | None = None
        self._ended = False

    async def __aenter__(self) -> Intake:
        self._fetch()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False)

    def _fetch(self) -> None:
        loop = asyncio.get_running_loop()
        self._coming = loop.run_in_executor(self._thread, next, self._batches, None)

    async def take(self) -> tuple[str, str, str, str, str | None] | None:
        """The next row of the plan; None at the end."""
        for row in self._rows:
            return row  # type: ignore[return-value]
        async with self._lock:
            while True:
                for row in self._rows:
                    return row  # type: ignore[return-value]
                if self._ended:
                    return None
                assert self._coming is not None
                batch = await self._coming
                if batch is None:
                    self._ended = True
                    return None
                self._fetch()
                self._rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
