"""What a killed run leaves behind, and what the next one makes of it.

A run says in `{table}/_runs/` which days it sends, and on which published state of them it builds, before it
sends anything. Its result files are whole or not there. So a later run of the same requests, on the same
state, takes the successes over instead of sending them again. A note stays until the next run of the table
tidies up: only then is it known whether the files became part of the table.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.table.notes import WALKS
from asgard_assets.lake import Lake, Staging
from asgard_assets.lake.staging import partition_folder

_NOTES = "_runs"
_NOT_WHAT_IS_SENT = {"execution", "limits", "retry", "transport", "quality"}


@dataclass(frozen=True)
class EarlierRun:
    """A run that began: `seen` is each day's transaction number, `identity` what it sends and keeps."""

    token: str
    run_id: str
    began: float
    identity: str
    seen: Mapping[str, int]
    epochs: Mapping[str, int]
    published: bool = False  # it made the state that its days are in now


def identity(source: ApiSource, staging: Staging) -> str:
    """Equal for two runs whose rows are interchangeable."""
    kept = source.model_dump(exclude=_NOT_WHAT_IS_SENT)
    # Sets are sorted: their order differs from one process to the next.
    told = json.dumps([kept, staging.schema.names], sort_keys=True, default=sorted)
    return hashlib.sha256(told.encode()).hexdigest()


def announce(run: Run, staging: Staging, epochs: Mapping[str, int]) -> None:
    """Leave a note for whoever comes after this run, should it be killed."""
    token = staging.path.rsplit("/", 1)[1]
    lake, same = run.lake, identity(run.source, staging)
    note = EarlierRun(token, run.run_id, time.time(), same, dict(staging.seen), dict(epochs))
    with lake.whole(f"{_notes(lake, staging)}/{token}.json") as file:
        file.write(json.dumps(asdict(note)).encode())


def earlier_runs(run: Run, staging: Staging) -> list[EarlierRun]:
    """Runs whose successes this one may take over, day by day as `usable_files` says. Tidies up on the way.

    Call it once `staging` has taken its transaction numbers: then a run that published after this look is
    refused by them, and no file that could still become part of the table is removed.
    """
    lake, source = run.lake, run.source
    depth = len(staging.partition_by) + 2  # a file, the folders of its partition, that of its run
    published = {uri.rsplit("/", depth)[-depth] for uri in lake.files(staging.stage, staging.name)}
    same, found = identity(source, staging), []
    for note in _read(lake, staging):
        if note is None:
            continue
        fresh = time.time() - note.began <= source.execution.resume_hours * 3600
        # Of a published run, the lists of parents that broke off go on where they were.
        if source.rows is not None and not source.one_request_a_row and fresh and note.token in published:
            note = replace(note, published=True)
        elif _tidied(lake, staging, note, published):
            continue
        asked_again = run.mode == "refresh" and note.run_id != run.run_id
        if note.identity == same and fresh and not asked_again:
            found.append(note)
    return sorted(found, key=lambda note: note.began)


@dataclass(frozen=True)
class Left:
    """What earlier runs may have left of one day."""

    lake: Lake
    source: ApiSource
    staging: Staging
    earlier: Sequence[EarlierRun]
    day: str
    epoch: int

    def fits(self, note: EarlierRun) -> bool:
        """Whether the run built on the state of the day that there is now, or made it."""
        return _builds_on(note, self.staging, self.day, self.epoch)

    def folder(self, note: EarlierRun) -> str:
        return folder_of(self.staging, note.token)

    def files(self, note: EarlierRun, inside: str = "") -> list[str]:
        return usable_files(self.lake, self.staging, [note], self.day, self.epoch, inside)


def usable_files(
    lake: Lake, staging: Staging, notes: Sequence[EarlierRun], day: str, epoch: int, inside: str = ""
) -> list[str]:
    """Result files of `day` that build on the same state of it, and belong to the same epoch.

    `inside`: those in another folder of the runs' staging folders than where results lie.
    """
    found = []
    for note in notes:
        if _builds_on(note, staging, day, epoch):
            folder = f"{folder_of(staging, note.token)}/{inside}{partition_folder(day, staging.dimension)}"
            found += [
                f"{folder}/{name}"
                for name in _names(lake, folder, ".parquet")
                if _fits(lake, staging, f"{folder}/{name}")
            ]
    return found


def _builds_on(note: EarlierRun, staging: Staging, day: str, epoch: int) -> bool:
    seen = note.seen.get(day, -2) + (1 if note.published else 0)
    return seen == staging.seen[day] and note.epochs.get(day) == epoch


def _fits(lake: Lake, staging: Staging, path: str) -> bool:
    """Whether a file is whole and has the columns that this run writes: a payload may have been typed since."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path, filesystem=lake.filesystem)
    except pa.ArrowInvalid:
        return False  # the kill came while it was written: what is in it is asked for again
    wanted = {field.name: field.type for field in staging.schema if field.name not in staging.partition_by}
    return {field.name: field.type for field in schema} == wanted


def _tidied(lake: Lake, staging: Staging, note: EarlierRun, published: set[str]) -> bool:
    """Remove what is settled: the note of a run that published, the files of a run that never can."""
    own = folder_of(staging, note.token)
    if note.token not in published:
        now = lake.epochs(staging.stage, staging.name, note.seen)
        stale = [day for day, number in note.seen.items() if now[day] > number]
        for day in stale:
            lake.filesystem.delete_dir_contents(
                f"{own}/{partition_folder(day, staging.dimension)}", missing_dir_ok=True
            )
        if len(stale) < len(note.seen) and _exists(lake, own):
            return False
        if _exists(lake, own):
            lake.filesystem.delete_dir(own)
    elif _exists(lake, f"{own}/{WALKS}"):
        lake.filesystem.delete_dir(f"{own}/{WALKS}")
    lake.filesystem.delete_file(f"{_notes(lake, staging)}/{note.token}.json")
    return True


def _read(lake: Lake, staging: Staging) -> list[EarlierRun | None]:
    folder, notes = _notes(lake, staging), []
    for name in _names(lake, folder, ".json"):
        with lake.filesystem.open_input_stream(f"{folder}/{name}") as file:
            text = file.read()
        try:
            notes.append(EarlierRun(**json.loads(text)))
        except (ValueError, TypeError):
            lake.filesystem.delete_file(f"{folder}/{name}")
    return notes


def _names(lake: Lake, folder: str, ending: str) -> list[str]:
    """Whole files in a folder; one that is still being written begins with a dot."""
    from pyarrow import fs as pafs

    selector = pafs.FileSelector(folder, allow_not_found=True)
    names = (info.base_name for info in lake.filesystem.get_file_info(selector))
    return sorted(name for name in names if name.endswith(ending) and not name.startswith((".", "_")))


def _exists(lake: Lake, path: str) -> bool:
    from pyarrow import fs as pafs

    return lake.filesystem.get_file_info(path).type != pafs.FileType.NotFound


def _notes(lake: Lake, staging: Staging) -> str:
    return f"{lake.path(staging.stage, staging.name)}/{_NOTES}"


def folder_of(staging: Staging, token: str) -> str:
    """The staging folder of another run of the table."""
    return f"{staging.path.rsplit('/', 1)[0]}/{token}"
