"""What a load is to read: the landing folder against the manifest, for the days that were asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from asgard_assets.ingest.files.landing.area import File, walk
from asgard_assets.ingest.files.plan.listing import chosen, day_of, merged, newest_generation, watermark
from asgard_assets.ingest.files.plan.manifest import open_manifest
from asgard_assets.ingest.files.plan.run import LoadRun
from asgard_assets.lake.numbers import plan_id
from asgard_assets.windows import window_of


@dataclass
class Batch:
    """What is to be loaded of each day, and what the table already has of it."""

    todo: dict[str, list[File]]
    numbers: dict[str, int]
    replaced: set[str] = field(default_factory=set[str])
    moved_from: set[str] = field(default_factory=set[str])
    deleted: dict[str, int] = field(default_factory=dict[str, int])
    gone: dict[str, list[File]] = field(default_factory=dict[str, list[File]])
    undated: tuple[str, ...] = ()
    links_out: tuple[str, ...] = ()
    whole_days: bool = False


def batch_of(run: LoadRun) -> Batch:
    """The files that the run is to read, and what the table has of them."""
    lake, source, days = run.lake, run.source, run.days
    now = lake.snapshot("bronze", source.name)
    manifest = open_manifest(lake, source.name, fold=True)
    numbers = {d: now.number(plan_id(source.name, d)) for d in days}
    # Loaded, but by plans that are gone: what lies there replaces its own rows.
    untold = {d for d in days if d in manifest.broken or numbers[d] != manifest.numbers.get(d, 0)}
    found = Batch({day: [] for day in days}, numbers, whole_days=source.overwrites)
    undated, links_out = list[str](), list[str]()
    start = (
        watermark(manifest) if source.ordered and not (run.full or run.again or source.overwrites) else None
    )
    for path, listed, known in merged(
        walk(run.landing, source, start, set(map(window_of, days)), links_out), manifest, start or ""
    ):
        if listed is None:
            if known is not None and known.ds in numbers:
                found.deleted[known.ds] = found.deleted.get(known.ds, 0) + 1
                if source.merge is not None and source.files == "add":
                    found.gone.setdefault(known.ds, []).append(known.file)
            continue
        day = day_of(source, listed) if chosen(source, path) else ""
        if day is None:
            undated.append(path.encode("utf-8", "backslashreplace").decode())
        elif day in found.todo:
            same = known is not None and known.file.version == listed.version
            if not same or run.full or source.overwrites or path in run.again:
                found.todo[day].append(listed)
                if known is not None or day in untold:
                    found.replaced.add(path)
                if known is not None and known.ds != day and not source.overwrites:
                    found.moved_from.add(known.ds)
                    found.numbers[known.ds] = manifest.numbers.get(known.ds, 0)
    if source.files == "snapshot":
        found.todo = {day: newest_generation(files) for day, files in found.todo.items()}
    if source.overwrites:
        kept = found.gone
        found.deleted = {d: n for d, n in found.deleted.items() if d in kept or not found.todo.get(d)}
    found.undated, found.links_out = tuple(undated), tuple(links_out)
    return found
