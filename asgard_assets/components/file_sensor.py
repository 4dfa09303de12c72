"""The sensor of a file source: new and changed files ask for runs, one at most for each day that they touch.

Where many days wait, those without a gap between them share a run.

What is to be loaded is told by the landing folder and the table, never by the cursor: that only says where to
look. A tick lists for a few seconds and goes on from there at the next. Of a source with ordered names it looks
behind what is loaded, and walks through everything once in `full_listing_hours` as a net. Where the store announces
its files (`notify`) a tick reads the messages, and lists only every `relist_minutes`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import dagster as dg

from asgard_assets.components.partitions import keys_of, partitions_of, tags_of
from asgard_assets.components.platform.alerts import alert
from asgard_assets.components.pulls import Pull
from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.landing.notices import Notice, Notices, notices_of, read_notices
from asgard_assets.ingest.files.plan.control import SOURCE_TAG, Control, note_alert, read_control
from asgard_assets.ingest.files.plan.listing import Scan, batch_hash, day_of, scan, scan_announced
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from asgard_assets.windows import by_value, slice_of, stretches, value_of

BATCH_TAG = "asgard/batch"
_RANGE = "dagster/asset_partition_range"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# A tick is to stay under 10 s, and under 2 s where names are ordered, listing not being all that it does.
_TICK_SECONDS = 7.0
_ORDERED_SECONDS = 1.0
_NET_SECONDS = 0.5
FILES_PER_TICK = 50_000
RUNS_PER_TICK = 50
SHARED_FROM = 30
"""Where so many days wait, they share runs."""
_DAYS_OF_A_RUN, _BYTES_OF_A_RUN = 100, 10 * 1024**3
_SHOWN = 5


@dataclass(frozen=True)
class Cursor:
    """Where the next tick looks: behind which name, whether on a full listing, when the last one ended.

    `files`, `bytes` and `oldest_us` sum up what a listing over several ticks found outstanding; `told` is the
    backlog last told as an event, so that only changes are. `looked_at`: when a source with a schedule was last looked at.
    """

    after: str = ""
    full: bool = False
    full_at: float = 0.0
    files: int = 0
    bytes: int = 0
    oldest_us: int = 0
    told: str = ""
    looked_at: float = 0.0

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """What a tick wrote; where it cannot be read the listing begins anew, which is always right."""
        try:
            told = json.loads(text or "{}")
            return cls(**told) if isinstance(told, dict) else cls()
        except (ValueError, TypeError):
            return cls()


def file_sensor(
    source: FileSource,
    clock: Callable[[], float] = time.time,
    runs_per_tick: int = RUNS_PER_TICK,
    pull: Pull | None = None,
) -> dg.SensorDefinition:
    """Ask for one run for each day that has files to load; for ranges of days where many have. With `pull`, the folder is
    looked at when that is due.

    A batch (these files, in these versions) is asked for once; after a failure it waits for a changed file or
    for `asgard retry`, and the tick says so. A listing that fails makes the tick fail and tells the owner.
    """
    key = dg.AssetKey(["bronze", source.name])

    @dg.sensor(
        name=f"{source.name}_files",
        asset_selection=dg.AssetSelection.assets(key),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Loads new and changed files of {source.path}/ into bronze/{source.name}.",
    )
    def look_for_files(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        lake, landing = Lake.from_settings(), Landing.from_settings()
        control = read_control(lake, source.name)
        cursor = Cursor.read(context.cursor)
        if pull is not None and not is_due(source, pull, cursor, clock()):
            return dg.SensorResult(
                skip_reason=f"the folder is looked at when {pull.schedule} is due", cursor=context.cursor
            )
        cursor = replace(cursor, looked_at=clock())
        queue = None if control.pause else notices_of(landing, source)
        notices, told = _received(landing, source, queue)
        announced = [file for notice in notices or () for file in notice.files]
        listing = notices is None or listing_is_due(source, cursor, clock())
        try:
            found = scan_announced(lake, landing, source, announced)
            if listing:
                listed, cursor = look(lake, landing, source, cursor, clock())
                found = _joined(found, listed) if announced else listed
        except SourceError as error:
            if not landing_exists(landing, source):
                return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
            if control.alerted != str(error):
                owners = source.owners or (Settings().owner,)
                try:
                    alert(f"Asgard: {source.name} cannot be listed: {error}", owners, {"source": source.name})
                    note_alert(lake, source.name, str(error))
                except (OSError, ConfigError) as silent:
                    context.log.warning(f"the owner could not be told, the next tick tries again: {silent}")
            raise
        if control.alerted:
            note_alert(lake, source.name, "")
        added = _values_to_add(context.instance, source, found)
        requests, notes, later = _requests(context.instance, source, found, control, runs_per_tick)
        notes += [*told, *_removed(source, queue, notices or (), later)]
        whole = listing and found.cursor is None
        backlog, events = _backlog(cursor, whole) if listing else "", []
        if whole and backlog != cursor.told:
            events = [dg.AssetObservation(key, metadata=_backlog_metadata(cursor, found, control))]
            cursor = replace(cursor, told=backlog)
        said = "; ".join(filter(None, [str(control.pause or ""), backlog, *notes]))
        said = said or ("every file is loaded" if listing else "nothing was announced that is not loaded")
        context.log.info(said)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else said,
            cursor=json.dumps(asdict(cursor)),
            asset_events=events,
            dynamic_partitions_requests=added,
        )

    return look_for_files


def is_due(source: FileSource, pull: Pull, cursor: Cursor, now: float) -> bool:
    """Whether the schedule was due since the last look, or a listing is to go on."""
    zone = source.calendar.zone
    last = pull.newest(datetime.fromtimestamp(now, zone), str(zone))
    return bool(cursor.after) or cursor.full or cursor.looked_at < last.timestamp()


def listing_is_due(source: FileSource, cursor: Cursor, now: float | None = None) -> bool:
    """Whether a source whose files are announced is to be listed again, or is in the midst of it."""
    assert source.notify is not None
    since = (time.time() if now is None else now) - cursor.full_at
    return bool(cursor.after) or cursor.full or since >= source.notify.relist_minutes * 60


def _received(
    landing: Landing, source: FileSource, queue: Notices | None
) -> tuple[Sequence[Notice] | None, list[str]]:
    """Messages that wait; None, and why, where they cannot be had: then the tick lists as if there were none."""
    if queue is None:
        return None, []
    try:
        notices, unread = read_notices(landing, source, queue)
    except SourceError as error:
        return None, [f"{error}; listing instead"]
    counted = [f"{len(notices)} messages"] if notices else []
    return notices, [*counted, *([f"{unread} of them nobody can read"] if unread else [])]


def _removed(
    source: FileSource, queue: Notices | None, notices: Sequence[Notice], later: Set[str]
) -> list[str]:
    """Take messages off, but for those of days that no run was asked for yet: they are to come again."""
    done = [n.handle for n in notices if later.isdisjoint(day_of(source, file) or "" for file in n.files)]
    if queue is None or not done:
        return []
    try:
        queue.remove(done)
    except SourceError as error:
        return [str(error)]
    return []


def look(
    lake: Lake, landing: Landing, source: FileSource, cursor: Cursor, now: float | None = None
) -> tuple[Scan, Cursor]:
    """One tick's look at the landing folder, and where the next one goes on."""
    now = time.time() if now is None else now
    if not source.ordered:
        found = scan(lake, landing, source, cursor.after or None, _TICK_SECONDS, max_files=FILES_PER_TICK)
        full_at = now if found.cursor is None else cursor.full_at
        return found, replace(_summed(cursor, found), after=found.cursor or "", full_at=full_at)
    found = scan(lake, landing, source, None, _ORDERED_SECONDS, max_files=FILES_PER_TICK)
    hours = source.notify.relist_minutes / 60 if source.notify else source.full_listing_hours
    due = cursor.full or now - cursor.full_at >= hours * 3600
    if not due or found.cursor is not None:
        return found, _summed(replace(cursor, after=""), found) if not due else cursor
    net = scan(lake, landing, source, cursor.after or None, _NET_SECONDS, full=True, max_files=FILES_PER_TICK)
    ended = net.cursor is None
    both = _joined(found, net)
    full_at = now if ended else cursor.full_at
    return both, replace(_summed(cursor, both), after=net.cursor or "", full=not ended, full_at=full_at)


def _summed(cursor: Cursor, found: Scan) -> Cursor:
    """The cursor with what this part of the listing found outstanding; a listing from the start begins at 0."""
    fresh = not cursor.after
    oldest = [us for us in (found.oldest_us, 0 if fresh else cursor.oldest_us) if us]
    return replace(
        cursor,
        files=found.files + (0 if fresh else cursor.files),
        bytes=found.bytes + (0 if fresh else cursor.bytes),
        oldest_us=min(oldest, default=0),
    )


def landing_exists(landing: Landing, source: FileSource) -> bool:
    """False where the source's folder is not there yet, which is no error of anybody's."""
    return landing.remote or os.path.isdir(landing.address(source.path))


def _joined(one: Scan, other: Scan) -> Scan:
    todo: dict[str, dict[str, File]] = {}
    for found in (one, other):
        for day, files in found.todo.items():
            todo.setdefault(day, {}).update({file.path: file for file in files})
    return replace(
        other,
        todo={day: sorted(todo[day].values()) for day in sorted(todo)},
        changed=one.changed | other.changed,
        failed={**other.failed, **one.failed},
        undated=tuple(dict.fromkeys([*one.undated, *other.undated])),
        undated_count=max(one.undated_count, other.undated_count),
        links_out=tuple(dict.fromkeys([*one.links_out, *other.links_out])),
    )


def _requests(
    instance: dg.DagsterInstance, source: FileSource, found: Scan, control: Control, most: int
) -> tuple[list[dg.RunRequest], list[str], set[str]]:
    """Runs to ask for, what a person should know of the days that none is asked for, and which of them will be."""
    days = set(keys_of(file_partitions(source), instance))
    notes = [
        *_note(f"{source.missing_in_path} in the name of", found.undated, found.undated_count),
        *_note("not followed, these links lead out of the landing root:", found.links_out),
        *_note("outside the calendar:", sorted(found.todo.keys() - days)),
        *_note("in quarantine:", [f"{path} ({reason})" for path, reason in found.failed.items()]),
    ]
    if control.pause is not None:
        return [], notes, set()
    known = sorted(found.todo.keys() & days)
    batches = {
        day: f"{source.name}-{day}-{batch_hash(found.todo[day])}"
        + (f"-{control.attempt}" if control.attempt else "")
        for day in known
    }
    busy = _days_in_progress(instance, dg.AssetKey(["bronze", source.name]), days) if known else set()
    ended = _ended(instance, [batches[day] for day in known if day not in busy])
    ready, waiting = [], []
    for day in known:
        if day in busy:
            waiting.append(day)
        elif batches[day] in ended:
            notes.append(f"{day}: {ended[batches[day]]}; after the cure: asgard retry {source.name}")
        else:
            ready.append(day)
    notes += _note("being loaded:", waiting)
    runs = _runs(instance, source, found, batches, ready)
    left = [day for run in runs[most:] for day in run]
    if left:
        notes.append(f"{len(left)} more days wait for the next tick")
    return [_request(source, found, batches, run) for run in runs[:most]], notes, {*waiting, *left}


def _values_to_add(
    instance: dg.DagsterInstance, source: FileSource, found: Scan
) -> list[dg.AddDynamicPartitionsRequest]:
    """Values of a dynamic second column that the files are the first to name; runs for them are asked for by the next tick."""
    if source.slices.get(source.second) != "dynamic":
        return []
    new = {value_of(key) for key in found.todo} - {*instance.get_dynamic_partitions(source.second)}
    return [dg.AddDynamicPartitionsRequest(source.second, sorted(new))] if new else []


def _runs(
    instance: dg.DagsterInstance,
    source: FileSource,
    found: Scan,
    batches: Mapping[str, str],
    ready: Sequence[str],
) -> list[list[str]]:
    """Which days are loaded together: each for itself, or, where many wait, those without a gap between them.

    Days whose common run has ended without loading them are loaded one by one, so that a bad one holds up no other.
    """
    if len(ready) < SHARED_FROM:
        return [[day] for day in ready]
    shared = list[list[str]]()
    for stretch in _without_gaps(source, ready):
        run, size = list[str](), 0
        for day in stretch:
            size += sum(file.size for file in found.todo[day])
            if run and (len(run) == _DAYS_OF_A_RUN or size > _BYTES_OF_A_RUN):
                shared.append(run)
                run, size = [], sum(file.size for file in found.todo[day])
            run.append(day)
        shared.append(run)
    ended = _ended(instance, [_batch(source, batches, run) for run in shared])
    return [
        each
        for run in shared
        for each in ([[day] for day in run] if _batch(source, batches, run) in ended else [run])
    ]


def _without_gaps(source: FileSource, keys: Sequence[str]) -> Iterator[list[str]]:
    """The keys in order, cut where a window is missing; those of one value of the second column after the other."""
    calendar = Settings().calendar(source.every, source.time_zone)
    for value, found in by_value(keys).items():
        for stretch in stretches(found, calendar):
            yield [slice_of(window, value) for window in stretch]


def file_partitions(source: FileSource) -> dg.PartitionsDefinition:
    """The windows of the source's table, crossed with its second column where it has one."""
    return partitions_of(source.every, source.time_zone, source.slices)


def _batch(source: FileSource, batches: Mapping[str, str], run: Sequence[str]) -> str:
    """Names what a run loads: the batch of its day, or all those of its days."""
    if len(run) == 1:
        return batches[run[0]]
    digest = hashlib.sha256("\n".join(batches[day] for day in run).encode()).hexdigest()[:16]
    return f"{source.name}-{run[0]}...{run[-1]}-{digest}"


def _request(
    source: FileSource, found: Scan, batches: Mapping[str, str], run: Sequence[str]
) -> dg.RunRequest:
    files, batch = [file for day in run for file in found.todo[day]], _batch(source, batches, run)
    tags = {
        BATCH_TAG: batch,
        SOURCE_TAG: source.name,
        "asgard/files": str(len(files)),
        "asgard/bytes": str(sum(file.size for file in files)),
    }
    if len(run) == 1:
        tags |= tags_of(file_partitions(source), run[0])
        with warnings.catch_warnings():  # Dagster's own tags of slices are none that it calls well-formed
            warnings.filterwarnings("ignore", "Non-compliant tag keys")
            return dg.RunRequest(run_key=batch, partition_key=run[0], tags=tags)
    ends = {f"{_RANGE}_start": run[0], f"{_RANGE}_end": run[-1]}
    return dg.RunRequest(run_key=batch, tags=tags | ends)


def _backlog(cursor: Cursor, whole: bool) -> str:
    if not cursor.files:
        return ""
    return f"{cursor.files} files ({cursor.bytes} bytes) outstanding{'' if whole else ' so far'}"


def _backlog_metadata(cursor: Cursor, found: Scan, control: Control) -> dict[str, dg.MetadataValue]:
    oldest = (time.time() - cursor.oldest_us / 1e6) / 3600 if cursor.oldest_us else 0.0
    return {
        "backlog_files": dg.MetadataValue.int(cursor.files),
        "backlog_bytes": dg.MetadataValue.int(cursor.bytes),
        "backlog_oldest_hours": dg.MetadataValue.float(round(oldest, 3)),
        "failed_files": dg.MetadataValue.int(len(found.failed)),
        "paused": dg.MetadataValue.bool(control.pause is not None),
    }


def _note(text: str, items: Sequence[str], count: int | None = None) -> list[str]:
    if not items:
        return []
    count = max(count or 0, len(items))
    more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
    return [f"{text} {', '.join(items[:_SHOWN])}{more}"]


def _ended(instance: dg.DagsterInstance, batches: Sequence[str]) -> dict[str, str]:
    """How the newest run of each batch ended, of those that had one. One question for all of them."""
    told: dict[str, str] = {}
    for start in range(0, len(batches), 500):
        asked = dg.RunsFilter(tags={BATCH_TAG: list(batches[start : start + 500])})
        for run in instance.get_runs(asked):
            told.setdefault(
                run.tags[BATCH_TAG], f"run {run.run_id[:8]} of this batch ended {run.status.value}"
            )
    return told


def _days_in_progress(instance: dg.DagsterInstance, key: dg.AssetKey, calendar: Set[str]) -> set[str]:
    """Days that any run, whoever asked for it, is loading or waits to load."""
    days: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        if run.asset_selection is None or key in run.asset_selection:
            days |= _days_of_run(run.tags, calendar)
    return days


def _days_of_run(tags: Mapping[str, str], calendar: Set[str]) -> set[str]:
    if "dagster/partition" in tags:
        return {tags["dagster/partition"]}
    first, last = (tags.get(f"{_RANGE}_{end}") for end in ("start", "end"))
    if first is None or last is None:
        return set()
    return {day for day in calendar if first <= day <= last and value_of(day) == value_of(first)}
