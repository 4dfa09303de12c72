"""How far a walk through a list got: written beside its result files, so that a walk that was cut short goes on from there.

A walk state stands between two pages. All items of the pages before it lie in the files that it names; what was
written later is asked for again. So no item is lost and none comes twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from asgard_assets.ingest.api.lists.pagination import Page
from asgard_assets.ingest.api.lists.walk import Walk
from asgard_assets.ingest.api.plan.resume import Left
from asgard_assets.ingest.api.source.forms import (
    CursorPagination,
    LinkPagination,
    NextUrlPagination,
    Pagination,
)
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.table.notes import WALKS
from asgard_assets.lake import Lake, Staging
from asgard_assets.lake.staging import partition_folder

_PAGINATION: TypeAdapter[Any] = TypeAdapter(Pagination)


@dataclass(frozen=True)
class WalkState:
    """`page` is asked for next, None where the walk has ended; `start` is the cursor that the walk began with.

    `files` are relative to the staging folder and hold `rows` items.
    """

    page: dict[str, Any] | None
    pagination: dict[str, Any]
    path: str | None
    items: int
    cursor: Any
    start: Any
    files: list[str]
    rows: int

    @classmethod
    def of(cls, walk: Walk, page: Page | None, start: Any, files: Sequence[str], rows: int) -> WalkState:
        told = walk.pagination.model_dump(mode="json")
        asked = None if page is None else asdict(page)
        return cls(asked, told, walk.path, walk.items, walk.cursor, start, list(files), rows)

    def resume(self, walk: Walk) -> Page | None:
        """Bring `walk` to this place; gives back the page that comes next."""
        walk.pagination = _PAGINATION.validate_python(self.pagination)
        walk.path, walk.items, walk.cursor = self.path, self.items, self.cursor
        return None if self.page is None else Page(**self.page)


def write_walk(lake: Lake, staging_path: str, day: str, mark: WalkState) -> None:
    """Write the day's walk state in place of the last one."""
    with lake.whole(f"{staging_path}/{WALKS}/{day}.json") as file:
        file.write(json.dumps(asdict(mark)).encode())


def read_walk(lake: Lake, staging_path: str, day: str) -> WalkState | None:
    """The day's walk state; None where there is none that can be read."""
    try:
        with lake.filesystem.open_input_stream(f"{staging_path}/{WALKS}/{day}.json") as stream:
            mark = WalkState(**json.loads(stream.read()))
        _PAGINATION.validate_python(mark.pagination)
        return mark
    except (FileNotFoundError, ValueError, TypeError, ValidationError):
        return None


def outlasts(source: ApiSource, mark: WalkState) -> bool:
    """Whether the place still means the same in a later run.

    A token or an address that the API gave does. A count (`page`, `offset`) does where the list is that of a
    day's events; in a list of how things are now, items have moved since.
    """
    pagination = _PAGINATION.validate_python(mark.pagination)
    told = isinstance(pagination, CursorPagination | NextUrlPagination | LinkPagination)
    told |= mark.page is not None and bool(mark.page.get("step"))
    return mark.page is None or told or source.kind == "events"


def set_aside_broken(lake: Lake, staging: Staging, broken: Collection[str]) -> None:
    """Set aside what walks that the API broke off had got: their days are not published, and their staged files go.

    The walk states of all others have served.
    """
    base = staging.path
    for day in staging.days:
        mark = read_walk(lake, staging.path, day)
        if mark is None:
            continue
        if day not in broken:
            lake.filesystem.delete_file(f"{base}/{WALKS}/{day}.json")
            continue
        lake.filesystem.create_dir(
            f"{base}/{WALKS}/{partition_folder(day, staging.dimension)}", recursive=True
        )
        for name in mark.files:
            lake.filesystem.copy_file(f"{base}/{name}", f"{base}/{WALKS}/{name}")


def take_over(left: Left, start: Any) -> None:
    """Copy the furthest walk state of earlier runs, and its files, into this run's staging folder."""
    best: tuple[WalkState, list[str]] | None = None
    lake, day = left.lake, left.day
    for note in left.earlier:
        mark = read_walk(lake, left.folder(note), day)
        if mark is None or mark.start != start or not outlasts(left.source, mark):
            continue
        places = {
            path.rsplit("/", 1)[1]: path for inside in ("", f"{WALKS}/") for path in left.files(note, inside)
        }
        names = [name.rsplit("/", 1)[1] for name in mark.files]
        if places.keys() >= {*names} and (best is None or mark.items >= best[0].items):
            best = mark, [places[name] for name in names]
    if best is None:
        return
    mark, old = best
    base = left.staging.path
    folder = partition_folder(day, left.staging.dimension)
    lake.filesystem.create_dir(f"{base}/{folder}", recursive=True)
    files = [f"{folder}/part-left-{number:05d}.parquet" for number in range(len(mark.files))]
    for name, new in zip(old, files, strict=True):
        lake.filesystem.copy_file(name, f"{base}/{new}")
    write_walk(lake, left.staging.path, day, replace(mark, files=files))
