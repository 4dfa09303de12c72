"""`--rows FILE`: rows for a source that names none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.lake import duck
from asgard_assets.lake.duck import Reach
from asgard_assets.lake.sql import literally, quoted


@contextmanager
def frame(rows: Path | None) -> Iterator[str | None]:
    """The rows' file as Parquet, which both Spark and the planner read."""
    if rows is None:
        yield None
        return
    import duckdb

    readers = {".csv": "read_csv", ".json": "read_json", ".jsonl": "read_json", ".parquet": "read_parquet"}
    if rows.suffix not in readers:
        raise ConfigError(f"--rows {rows}: there are {', '.join(readers)}")
    with tempfile.TemporaryDirectory(prefix="asgard-rows-") as folder:
        target = f"{folder}/rows.parquet"
        with duck.connect(Reach(paths=(str(rows), folder))) as connection:
            try:
                connection.execute(
                    f"copy (from {readers[rows.suffix]}({quoted(str(rows))})) to {quoted(target)} (format parquet)"
                )
            except duckdb.Error as error:
                raise ConfigError(f"--rows {rows}: {error}") from error
        yield literally(target)
