"""Where an incremental source goes on: immutable plans beside the lake, done when their commit says so.

Plan N says what was asked for: the day and the cursor it began with. The commit that publishes the day
carries N as the transaction number of `source/ds`, so plan N is done exactly when that number is N. What
the walk ended with is written beside the plan before the commit. A walk that was killed leaves a plan that
is not done: the next one begins where it began.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.lists.walk import later
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import plan_id


@dataclass(frozen=True)
class CursorPlan:
    """Walk number `number` of a source, for one day, from `cursor` on."""

    number: int
    ds: str
    cursor: Any


def open_plan(lake: Lake, source: ApiSource, ds: str) -> CursorPlan:
    """Write down where the walk for `ds` begins: where the last published one ended.

    A day that was published before is walked again from where it began, so that nothing of it is lost.
    Raises ConfigError for a day before the one that the cursor stands at.
    """
    assert source.incremental is not None
    done = list(_done(lake, source))
    of_day = [plan for plan in done if plan.ds == ds]
    cursor = source.incremental.start
    if of_day:
        cursor = min(of_day, key=lambda plan: plan.number).cursor
    elif done:
        last = max(done, key=lambda plan: plan.number)
        newest = max(plan.ds for plan in done)
        if ds < newest:
            raise ConfigError(
                f"{source.name}: changes come in order, and the cursor already stands at {newest}; "
                f"{ds} was never loaded on its own, its changes are in the next day that was",
                field="form.incremental",
            )
        cursor = _ended(lake, source, last)
    number = max(_numbers(lake, source), default=0) + 1
    text = {"source": source.name, "ds": ds, "number": number, "cursor": cursor}
    _write(lake, source, f"{number:08d}.json", text | {"written_at": datetime.now(UTC).isoformat()})
    return CursorPlan(number, ds, cursor)


def close_plan(lake: Lake, source: ApiSource, plan: CursorPlan, reached: Any) -> Any:
    """Write down where the walk ended, before it is published; gives that back."""
    how = source.incremental
    assert how is not None
    # A body's token is taken as it is, and so is a ledger of parents; a field's greatest value never falls
    # behind where it began.
    told = how.body or source.rows is not None
    ended = plan.cursor if reached is None else reached if told else later(plan.cursor or None, reached)
    _write(lake, source, f"{plan.number:08d}.end.json", {"cursor": ended})
    return ended


def published_end(lake: Lake, source: ApiSource, ds: str) -> Any:
    """Where the last published walk of the day ended; None where there is none."""
    of_day = [plan for plan in _done(lake, source) if plan.ds == ds]
    return _ended(lake, source, max(of_day, key=lambda plan: plan.number)) if of_day else None


def _done(lake: Lake, source: ApiSource) -> Iterator[CursorPlan]:
    """Every plan that some commit carried, the first of a day included."""
    table = lake.table(source.sink.stage, source.sink.name)
    if table is None:
        return
    for number in sorted(_numbers(lake, source)):
        found = _read(lake, source, f"{number:08d}.json")
        committed = table.transaction_version(plan_id(source.name, found["ds"])) or 0
        # A plan with an end below the day's number was published, or came to nothing and was done again.
        if number <= committed and _read(lake, source, f"{number:08d}.end.json"):
            yield CursorPlan(number, found["ds"], found["cursor"])


def _ended(lake: Lake, source: ApiSource, plan: CursorPlan) -> Any:
    return _read(lake, source, f"{plan.number:08d}.end.json")["cursor"]


def root(lake: Lake, source: ApiSource) -> str:
    """The folder of the source's plans."""
    return f"{lake.root.removeprefix('s3://')}/_plans/{source.name}"


def _numbers(lake: Lake, source: ApiSource) -> list[int]:
    from pyarrow import fs as pafs

    infos = lake.filesystem.get_file_info(pafs.FileSelector(root(lake, source), allow_not_found=True))
    return [int(info.base_name[:8]) for info in infos if info.base_name[8:] == ".json"]


def _read(lake: Lake, source: ApiSource, name: str) -> dict[str, Any]:
    try:
        with lake.filesystem.open_input_stream(f"{root(lake, source)}/{name}") as stream:
            return json.loads(stream.read())
    except FileNotFoundError:
        return {}


def _write(lake: Lake, source: ApiSource, name: str, content: dict[str, Any]) -> None:
    folder = root(lake, source)
    lake.filesystem.create_dir(folder, recursive=True)
    hidden = f"{folder}/{name}" if lake.remote else f"{folder}/.{name}"
    with lake.filesystem.open_output_stream(hidden) as stream:
        stream.write(json.dumps(content, indent=1).encode())
    if not lake.remote:
        lake.filesystem.move(hidden, f"{folder}/{name}")
