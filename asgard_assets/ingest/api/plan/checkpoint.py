"""Where an incremental source goes on: immutable plans beside the lake, done when their commit says so.

Plan N says what was asked for: the day and the cursor it began with. The commit that publishes the day
carries N as the transaction number of `source/ds`, so plan N is done exactly when that number is N. What
the walk ended with is written beside the plan before the commit. A walk that was killed leaves a plan that
is not done: the next one begins where it began. A cursor that a person set has a number too, and the plans
before it count no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.lists.walk import later
from asgard_assets.ingest.api.source.forms import Incremental, PullForm
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.values.cursors import earlier, is_time
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import plan_id

USUAL_OVERLAP = 60.0
_SET = ".set.json"


@dataclass(frozen=True)
class CursorPlan:
    """Walk number `number` of a source, for one day, from `cursor` on; `stands` is where the source stood.

    It asks from `overlap_seconds` before the cursor on.
    """

    number: int
    ds: str
    cursor: Any
    stands: Any = None
    overlap_seconds: float = 0

    @property
    def sent(self) -> Any:
        return earlier(self.cursor, self.overlap_seconds)


@dataclass(frozen=True)
class CursorState:
    """Where an incremental source stands. `cursor` is what its next run goes on from, unless it is for a day that
    was published before; `came_from` says how it got there: start, set, or a run. `sent` is the cursor less
    the overlap. `ds` is the newest published day, None before the first.
    """

    source: str
    cursor: Any
    sent: Any
    came_from: Literal["start", "set", "run"]
    ds: str | None
    history: tuple[Mapping[str, Any], ...]


def cursor_state(lake: Lake, source: ApiSource) -> CursorState:
    """Where the source stands, with its last published runs, the newest first. Raises ConfigError for one without a cursor."""
    how = _incremental(source)
    begins, since = _begins(lake, source)
    done = sorted(_done(lake, source), key=lambda plan: plan.number)
    counted = [plan for plan in done if plan.number > since]
    cursor = _ended(lake, source, counted[-1]) if counted else begins
    came_from = "run" if counted else "start" if begins == how.start else "set"
    history = tuple(
        {"ds": plan.ds, "from": plan.cursor, "to": _ended(lake, source, plan)}
        for plan in reversed(done[-10:])
    )
    sent = earlier(cursor, overlap_of(source, cursor, bool(counted)))
    newest = max((plan.ds for plan in counted), default=None)
    return CursorState(source.name, cursor, sent, came_from, newest, history)


def overlap_of(source: ApiSource, cursor: Any, by_run: bool) -> float:
    """Seconds before the cursor from which on is asked. `by_run`: a run left the cursor, and not a person.

    Most APIs that are asked for what changed after a moment leave out what changed in that very moment.
    """
    how = _incremental(source)
    if how.field is None:
        return 0
    if how.overlap_seconds is not None:
        return how.overlap_seconds
    keyed = source.rows is None and isinstance(source.form, PullForm) and bool(source.form.key)
    return USUAL_OVERLAP if by_run and keyed and is_time(cursor) else 0


def set_cursor(lake: Lake, source: ApiSource, cursor: Any) -> None:
    """The next run of any day goes on from `cursor`; None: from `incremental.start`, as if nothing had run."""
    _incremental(source)
    if cursor is not None:
        _one_list(source)
    number = _next_number(lake, source)
    text = {"source": source.name, "number": number, "cursor": cursor}
    _write(lake, source, f"{number:08d}{_SET}", text | {"written_at": datetime.now(UTC).isoformat()})


def _incremental(source: ApiSource) -> Incremental:
    if source.incremental is None:
        raise ConfigError(
            f"{source.name} has no cursor: it says nothing in form.incremental", field="form.incremental"
        )
    return source.incremental


def _one_list(source: ApiSource) -> None:
    if source.rows is not None:
        raise ConfigError(
            f"{source.name}: each parent row has a cursor of its own; they can only be reset together"
        )


def _begins(lake: Lake, source: ApiSource) -> tuple[Any, int]:
    """The cursor of a source of which nothing counts yet, and the number up to which nothing counts any more."""
    start = _incremental(source).start
    number = max(_numbers(lake, source, _SET), default=0)
    told = _read(lake, source, f"{number:08d}{_SET}").get("cursor") if number else None
    return (start if told is None else told), number


def _next_number(lake: Lake, source: ApiSource) -> int:
    return max([*_numbers(lake, source), *_numbers(lake, source, _SET)], default=0) + 1


def open_plan(lake: Lake, source: ApiSource, ds: str, once: Any = None) -> CursorPlan:
    """Write down where the walk for `ds` begins: where the last published one ended, or at `once`.

    A day that was published before is walked again from where it began, so that nothing of it is lost.
    Raises ConfigError for a day before the one that the cursor stands at, and for a cursor that would lose
    rows of a day.
    """
    how = _incremental(source)
    if once is not None:
        _one_list(source)
    cursor, since = _begins(lake, source)
    done = [plan for plan in _done(lake, source) if plan.number > since]
    of_day = [plan for plan in done if plan.ds == ds]
    stands = cursor
    if done:
        stands = _ended(lake, source, max(done, key=lambda plan: plan.number))
    overlap = overlap_of(source, stands, by_run=bool(done) and once is None)
    if of_day:
        began = min(of_day, key=lambda plan: plan.number)
        cursor, overlap = began.cursor, overlap_of(source, began.cursor, bool(began.overlap_seconds))
        if once is not None and how.field and later(cursor, once) == once and once != cursor:
            raise ConfigError(
                f"{source.name}: {ds} was loaded from the cursor {cursor} on; a run from {once} would replace it "
                "with fewer rows. Give an earlier cursor, or another day"
            )
    elif done:
        newest = max(plan.ds for plan in done)
        if ds < newest:
            raise ConfigError(
                f"{source.name}: changes come in order, and the cursor already stands at {newest}; "
                f"{ds} was never loaded on its own, its changes are in the next day that was",
                field="form.incremental",
            )
        cursor = stands
    cursor = cursor if once is None else once
    number = _next_number(lake, source)
    text = {"source": source.name, "ds": ds, "number": number, "cursor": cursor, "overlap_seconds": overlap}
    _write(lake, source, f"{number:08d}.json", text | {"written_at": datetime.now(UTC).isoformat()})
    return CursorPlan(number, ds, cursor, stands, overlap)


def days_asked_again(lake: Lake, source: ApiSource, plan: CursorPlan) -> list[str]:
    """The published days before the plan's that have rows of its overlap."""
    ends = {earlier_plan.ds: _ended(lake, source, earlier_plan) for earlier_plan in _done(lake, source)}
    return [ds for ds, end in ends.items() if ds < plan.ds and later(end, plan.sent) == end]


def close_plan(lake: Lake, source: ApiSource, plan: CursorPlan, reached: Any) -> Any:
    """Write down where the walk ended, before it is published; gives that back."""
    how = source.incremental
    assert how is not None
    # A body's token is taken as it is, and so is a ledger of parents; a field's greatest value never falls
    # behind where it began.
    if how.body or source.rows is not None:
        ended = plan.stands if reached is None else reached
    else:
        ended = later(plan.stands or None, later(plan.cursor or None, reached))
    _write(lake, source, f"{plan.number:08d}.end.json", {"cursor": ended})
    return ended


def published_end(lake: Lake, source: ApiSource, ds: str) -> Any:
    """Where the last published walk of the day ended; None where there is none."""
    of_day = [plan for plan in _done(lake, source) if plan.ds == ds]
    return _ended(lake, source, max(of_day, key=lambda plan: plan.number)) if of_day else None


def _done(lake: Lake, source: ApiSource) -> Iterator[CursorPlan]:
    """Every plan that some commit carried, the first of a day included."""
    table = lake.snapshot(source.sink.stage, source.sink.name)
    for number in sorted(_numbers(lake, source)):
        found = _read(lake, source, f"{number:08d}.json")
        committed = table.number(plan_id(source.name, found["ds"]))
        # A plan with an end below the day's number was published, or came to nothing and was done again.
        if number <= committed and _read(lake, source, f"{number:08d}.end.json"):
            overlap = found.get("overlap_seconds", 0)
            yield CursorPlan(number, found["ds"], found["cursor"], overlap_seconds=overlap)


def _ended(lake: Lake, source: ApiSource, plan: CursorPlan) -> Any:
    return _read(lake, source, f"{plan.number:08d}.end.json")["cursor"]


def root(lake: Lake, source: ApiSource) -> str:
    """The folder of the source's plans."""
    return f"{lake.root}/_plans/{source.name}"


def _numbers(lake: Lake, source: ApiSource, ending: str = ".json") -> list[int]:
    from pyarrow import fs as pafs

    infos = lake.filesystem.get_file_info(pafs.FileSelector(root(lake, source), allow_not_found=True))
    return [int(info.base_name[:8]) for info in infos if info.base_name[8:] == ending]


def _read(lake: Lake, source: ApiSource, name: str) -> dict[str, Any]:
    try:
        with lake.filesystem.open_input_stream(f"{root(lake, source)}/{name}") as stream:
            return json.loads(stream.read())
    except FileNotFoundError:
        return {}


def _write(lake: Lake, source: ApiSource, name: str, content: dict[str, Any]) -> None:
    with lake.whole(f"{root(lake, source)}/{name}") as file:
        file.write(json.dumps(content, indent=1).encode())
