"""Plan rows on their way to the workers of one task."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Planned = tuple[str, str, str, dict[str, Any], str | None]
"""Day, request id, key and row of what is to be asked, and the validators of what is published."""


class Intake:
    """Plan rows for many workers: one Arrow batch at hand, one on its way, never more."""

    def __init__(self, batches: Iterator[pa.RecordBatch]):
        self._batches = batches
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._lock = asyncio.Lock()
        self._rows: Iterator[Planned] = iter(())
        self._coming: asyncio.Future[Iterator[Planned] | None] | None = None
        self._ended = False

    async def __aenter__(self) -> Intake:
        self._fetch()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False)

    def _fetch(self) -> None:
        loop = asyncio.get_running_loop()
        self._coming = loop.run_in_executor(self._thread, self._next)

    def _next(self) -> Iterator[Planned] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        days, ids, keys, rows, known = (column.to_pylist() for column in batch.columns)
        return zip(days, ids, keys, parsed_rows(rows), known, strict=True)

    def at_hand(self) -> Planned | None:
        """The next row, if one is at hand."""
        return next(self._rows, None)

    async def take(self) -> Planned | None:
        """The next row of the plan; None at the end."""
        async with self._lock:
            while True:
                for row in self._rows:
                    return row
                if self._ended:
                    return None
                assert self._coming is not None
                batch = await self._coming
                if batch is None:
                    self._ended = True
                    return None
                self._fetch()
                self._rows = batch


def parsed_rows(rows: list[str]) -> list[dict[str, Any]]:
    """Rows of the plan, which are JSON; DuckDB writes numbers that are none as NaN and Infinity."""
    import orjson

    text = f"[{','.join(rows)}]"
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
