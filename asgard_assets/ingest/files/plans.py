"""Batch plans: what a load will read, written down before it reads, and what that says about each file.

Plan N of (source, day) is an immutable JSON file. The commit that publishes the day carries N as the
transaction number of `source/day`. So a plan is done exactly when N is not above that number: a load that
was killed at any point before its commit has left a plan that is not done, and no other day can hide it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from asgard_assets.ingest.files.listing import File, Listing
from asgard_assets.ingest.files.models import FileSource
from asgard_assets.lake import Lake

State = Literal["pending", "loaded", "changed", "deleted"]


@dataclass(frozen=True)
class Plan:
    """The files that load number `number` of (source, day) reads."""

    source: str
    ds: str
    number: int
    files: tuple[File, ...]


@dataclass(frozen=True)
class FileState:
    """Where a file stands: never loaded, loaded as it is, changed since, or gone since it was loaded."""

    path: str
    ds: str
    state: State


def app_id(source: str, ds: str) -> str:
    """Transaction identifier under which the day's plans are committed."""
    return f"{source}/{ds}"


def write_plan(lake: Lake, source: str, ds: str, files: Iterable[File]) -> Plan:
    """Write the next plan of (source, day), atomically, under a number that no other plan has."""
    number = max(_numbers(lake, source, ds), default=0)
    if table := lake.table("bronze", source):
        number = max(number, table.transaction_version(app_id(source, ds)) or 0)
    while True:
        number += 1
        plan = Plan(source, ds, number, tuple(sorted(files)))
        if _write_once(lake, _path(lake, source, ds, number), _to_json(plan)):
            return plan


def read_plan(lake: Lake, source: str, ds: str, number: int) -> Plan | None:
    """Plan `number`; None where its file is gone, so that its day counts as not loaded."""
    try:
        with lake.filesystem.open_input_stream(_path(lake, source, ds, number)) as stream:
            found = json.loads(stream.read())
    except FileNotFoundError:
        return None
    return Plan(
        source, ds, number, tuple(File(f["path"], f["size"], f["modified_us"]) for f in found["files"])
    )


def done_plans(lake: Lake, source: str, days: Iterable[str]) -> dict[str, Plan]:
    """The last done plan of each day; days never loaded are absent."""
    table = lake.table("bronze", source)
    if table is None:
        return {}
    found = {}
    for day in days:
        number = table.transaction_version(app_id(source, day))
        plan = read_plan(lake, source, day, number) if number else None
        if plan is not None:
            found[day] = plan
    return found


def files_state(lake: Lake, source: FileSource, listing: Listing) -> list[FileState]:
    """Every file that is listed or was loaded, with its state; by day and path."""
    planned = _children(lake, f"{_root(lake)}/{source.name}") if listing.stopped_at is None else []
    days = sorted({*listing.days, *planned})
    plans = done_plans(lake, source.name, days)
    states = []
    for day in days:
        listed = {f.path: f for f in listing.days.get(day, [])}
        loaded = {f.path: f for f in plans[day].files} if day in plans else {}
        states += [FileState(path, day, _state(path, listed, loaded)) for path in sorted({*listed, *loaded})]
    return states


def _state(path: str, listed: Mapping[str, File], loaded: Mapping[str, File]) -> State:
    if path not in listed:
        return "deleted"
    if path not in loaded:
        return "pending"
    return "loaded" if listed[path] == loaded[path] else "changed"


def _to_json(plan: Plan) -> bytes:
    return json.dumps(
        {
            "source": plan.source,
            "ds": plan.ds,
            "number": plan.number,
            "written_at": datetime.now(UTC).isoformat(),
            "files": [{"path": f.path, "size": f.size, "modified_us": f.modified_us} for f in plan.files],
        },
        indent=1,
    ).encode()


def _root(lake: Lake) -> str:
    return f"{lake.root.removeprefix('s3://')}/_plans"


def _path(lake: Lake, source: str, ds: str, number: int) -> str:
    return f"{_root(lake)}/{source}/{ds}/{number:08d}.json"


def _children(lake: Lake, folder: str) -> list[str]:
    from pyarrow import fs as pafs

    infos = lake.filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    return [info.base_name for info in infos if not info.base_name.startswith(".")]


def _numbers(lake: Lake, source: str, ds: str) -> list[int]:
    names = _children(lake, f"{_root(lake)}/{source}/{ds}")
    return [int(name.removesuffix(".json")) for name in names if name.endswith(".json")]


def _write_once(lake: Lake, path: str, content: bytes) -> bool:
    """Create the file whole, or return False because it exists.

    On an object store the existence check and the put are two steps; there the day's own transaction number
    still lets only one of two racing loads commit.
    """
    from pyarrow import fs as pafs

    if lake.remote:
        if lake.filesystem.get_file_info(path).type != pafs.FileType.NotFound:
            return False
        with lake.filesystem.open_output_stream(path) as stream:
            stream.write(content)
        return True
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    draft = f"{folder}/.{uuid.uuid4().hex}"
    with open(draft, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True
