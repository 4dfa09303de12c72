"""A load that is killed at its Nth step: python killed.py SOURCE.json LAKE N. Prints the number of steps if it lives."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgard_assets.ingest.sql import load as loading
from asgard_assets.ingest.sql.source import SqlSource
from asgard_assets.lake import Lake
from asgard_assets.windows import Calendar

NOW = datetime(2026, 10, 5, 12, tzinfo=UTC)
_STEPS = (
    (Lake, ("whole", "put_new", "amend", "publish", "staged_files", "_commit", "retype")),
    (loading, ("replace_rows", "write_cursor", "record")),
    (loading.Reading, ("_one",)),
)


def main(source: str, lake: str, last: int) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            step()
            done = function(*given, **named)
            step()
            return done

        return run

    for owner, names in _STEPS:
        for name in names:
            setattr(owner, name, counted(getattr(owner, name)))
    told = SqlSource.model_validate(json.loads(Path(source).read_text()))
    days = ["2026-10-05"]
    loaded = loading.load(Lake(lake), told, told.tables[0], days, Calendar(), clock=lambda: NOW)
    loading.commit(Lake(lake), loaded, days)
    print(steps)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
