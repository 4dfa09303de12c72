"""Which files there are, to which day they belong, and which of them are to be loaded."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.files.landing import area as landing
from asgard_assets.ingest.files.landing.area import Landing, walk
from asgard_assets.ingest.files.plan.listing import batch_hash, file_states, scan, watermark
from asgard_assets.ingest.files.plan.load_plan import write_plan
from asgard_assets.ingest.files.plan.manifest import open_manifest
from asgard_assets.ingest.files.source.models import DsRule, FileSource
from asgard_assets.lake import Lake

DAY, NEXT = "2026-10-05", "2026-10-06"


def source(**changes: object) -> FileSource:
    return FileSource.model_validate(
        {"name": "s", "path": "s", "ds": {"type": "folder"}, "description": "d"} | changes
    )


class Bench:
    """A landing folder and a lake, where a load is a plan and its commit."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "landing"
        self.landing = Landing(str(self.root))
        self.lake = Lake(str(tmp_path / "lake"))

    def touch(self, *names: str, modified: float | None = None) -> None:
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("a\n1\n")
            if modified:
                os.utime(path, (modified, modified))

    def load(self, source: FileSource, *names: str) -> None:
        days: dict = {}
        for name in names:
            file = self.landing.look(name)
            assert file is not None
            days.setdefault(source.ds.day(file.path, file.modified), []).append(file)
        numbers = open_manifest(self.lake, "s").numbers
        plan = write_plan(self.lake, "s", {day: numbers.get(day, 0) for day in days}, days)
        staging = self.lake.stage("bronze", "s", pa.schema([("ds", pa.string())]), sorted(days))
        self.lake.publish(staging, plans=plan.transactions)

    def todo(self, source: FileSource, **how: object) -> dict[str, list[str]]:
        found = scan(self.lake, self.landing, source, **how)  # pyright: ignore[reportArgumentType]
        return {day: [f.path for f in files] for day, files in found.todo.items()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("rule", "path", "day"),
    [
        ({"type": "folder"}, "s/ds=2026-10-05/a.csv", "2026-10-05"),
        ({"type": "folder"}, "s/ds=2026-13-05/a.csv", None),
        ({"type": "folder", "name": "day"}, "s/day=2026-10-05/a.csv", "2026-10-05"),
        ({"type": "filename"}, "airbyte/users/2026_10_05_1790000000000_0.jsonl.gz", "2026-10-05"),
        ({"type": "filename"}, "airbyte/2026_10_05/users.jsonl", None),
        (
            {"type": "path", "pattern": r"(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)/"},
            "s/2026/10/05/a.csv",
            "2026-10-05",
        ),
        ({"type": "arrival"}, "s/a.csv", "2026-10-06"),
    ],
)
def test_a_file_belongs_to_the_day_that_its_rule_names(rule: dict, path: str, day: str | None) -> None:
    found = TypeAdapter(DsRule).validate_python(rule).day(path, datetime(2026, 10, 6, 1, tzinfo=UTC))
    assert found == day


def test_a_pattern_must_name_a_day() -> None:
    with pytest.raises(ValidationError, match="lacks the named group day, month"):
        source(ds={"type": "path", "pattern": r"(?P<year>\d{4})"})


def test_hidden_files_are_left_out_and_undated_ones_are_told(bench: Bench) -> None:
    bench.touch("s/ds=2026-10-05/a.csv", "s/ds=2026-10-05/.a.csv", "s/_tmp/b.csv", "s/readme.csv")
    found = scan(bench.lake, bench.landing, source())
    assert bench.todo(source()) == {DAY: ["s/ds=2026-10-05/a.csv"]}
    assert (found.undated, found.undated_count, found.listed) == (("s/readme.csv",), 1, 2)


def test_a_glob_chooses_files(bench: Bench) -> None:
    bench.touch("s/ds=2026-10-05/a.csv", "s/ds=2026-10-05/a.md")
    assert bench.todo(source(glob="*.csv")) == {DAY: ["s/ds=2026-10-05/a.csv"]}


def test_a_missing_folder_says_what_to_do(bench: Bench) -> None:
    with pytest.raises(SourceError, match="ASGARD_LANDING"):
        scan(bench.lake, bench.landing, source())


@pytest.mark.parametrize("root", ["abfss://box@account/landing", "gs://bucket/landing", "ftp://host/x"])
def test_a_store_that_is_not_yet_read_is_refused_clearly(root: str) -> None:
    with pytest.raises(ConfigError, match="not yet from"):
        Landing(root)


def test_names_come_in_the_order_of_their_bytes(bench: Bench) -> None:
    names = [
        "s/a-b/x.csv",
        "s/a/x.csv",
        "s/a.csv",
        "s/ä/x.csv",
        "s/a b.csv",
        "s/aa.csv",
        "s/😀.csv",
        "s/｡.csv",
    ]
    bench.touch(*names)
    listed = [f.path for f in walk(bench.landing, source())]
    assert listed == sorted(names, key=lambda name: name.encode())
    for position, name in enumerate(listed):
        assert [f.path for f in walk(bench.landing, source(), after=name)] == listed[position + 1 :]


@pytest.mark.slow
def test_a_folder_of_very_many_names_is_walked_in_order_by_and_by(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"s/{n:03}{end}" for n in range(300) for end in (".csv", "/a.csv", "/b.csv")]
    bench.touch(*names, "s/.hidden", "s/_also/a.csv")
    monkeypatch.setattr(landing, "NAMES_BYTES", 40 * (landing.NAME_BYTES + 5))
    listed = [f.path for f in walk(bench.landing, source())]
    assert listed == sorted(names)
    for position in (0, 1, 2, 17, 18, 19, 450, 898, 899):
        assert [f.path for f in walk(bench.landing, source(), listed[position])] == listed[position + 1 :]


def test_a_listing_out_of_time_goes_on_where_it_stopped(bench: Bench) -> None:
    names = [f"s/ds=2026-10-{day:02}/{file}.csv" for day in range(5, 15) for file in "ab"]
    bench.touch(*names)
    seen, cursor, turns = [], None, 0
    while True:
        ticking = itertools.count()
        found = scan(
            bench.lake, bench.landing, source(), cursor, budget_seconds=2, clock=lambda c=ticking: next(c)
        )
        seen += [f.path for files in found.todo.values() for f in files]
        cursor, turns = found.cursor, turns + 1
        if cursor is None:
            break
    assert seen == names
    assert turns > 3


def test_new_changed_and_deleted_files_are_told_apart(bench: Bench) -> None:
    names = [f"s/ds=2026-10-05/{name}.csv" for name in "abc"]
    bench.touch(*names)
    bench.load(source(), *names)
    assert bench.todo(source()) == {}
    (bench.root / names[0]).unlink()
    bench.touch(names[1], modified=2e9)
    bench.touch("s/ds=2026-10-06/new.csv")
    found = scan(bench.lake, bench.landing, source())
    assert bench.todo(source()) == {DAY: [names[1]], NEXT: ["s/ds=2026-10-06/new.csv"]}
    assert (found.changed, found.deleted) == (frozenset([names[1]]), (names[0],))
    assert (found.files, found.bytes) == (2, 8)
    states = {s.path: s.state for s in file_states(bench.lake, bench.landing, source())}
    assert list(states.values()) == ["deleted", "changed", "loaded", "pending"]
    assert [s.path for s in file_states(bench.lake, bench.landing, source(), {"changed"})] == [names[1]]


def test_an_ordered_source_is_looked_at_behind_what_is_loaded(bench: Bench) -> None:
    ordered = source(ordered=True, ds={"type": "filename"})
    names = [f"s/2026-10-05_{n}.csv" for n in range(5)]
    bench.touch(*names)
    bench.load(ordered, *names[:2], names[3])
    assert bench.todo(ordered) == {DAY: [names[2], names[4]]}
    assert watermark(open_manifest(bench.lake, "s")) == names[1]
    assert scan(bench.lake, bench.landing, ordered).listed == 3
    bench.load(ordered, names[2], names[4])
    assert bench.todo(ordered) == {}
    assert scan(bench.lake, bench.landing, ordered).listed == 0
    # A file that breaks the promise is found by a full look.
    bench.touch(names[0], modified=2e9)
    assert bench.todo(ordered) == {}
    assert bench.todo(ordered, full=True) == {DAY: [names[0]]}


def test_of_a_snapshot_only_the_newest_generation_is_asked_for(bench: Bench) -> None:
    snapshot = source(files="snapshot", ds={"type": "filename"})
    old, new = "s/2026_10_05_1790000000000_0.jsonl", "s/2026_10_05_1790000009999_0.jsonl"
    bench.touch(old, new)
    assert bench.todo(snapshot) == {DAY: [new]}
    bench.load(snapshot, new)
    assert bench.todo(snapshot) == {}
    assert [s.path for s in file_states(bench.lake, bench.landing, snapshot)] == [new]


def test_the_hash_of_a_batch_follows_size_and_time(bench: Bench) -> None:
    bench.touch("s/ds=2026-10-05/a.csv")

    def hashed() -> str:
        return batch_hash(scan(bench.lake, bench.landing, source()).todo[DAY])

    first = hashed()
    assert hashed() == first
    os.utime(bench.root / "s/ds=2026-10-05/a.csv", (1, 1))
    assert hashed() != first


def test_a_name_that_is_no_text_is_told_and_holds_nothing_back(bench: Bench) -> None:
    bench.touch("s/ds=2026-10-05/a.csv")
    name = os.fsencode(bench.root / "s/ds=2026-10-05") + b"/\xff.csv"
    Path(os.fsdecode(name)).write_text("a\n1\n")
    found = scan(bench.lake, bench.landing, source())
    assert bench.todo(source()) == {DAY: ["s/ds=2026-10-05/a.csv"]}
    assert found.undated == (r"s/ds=2026-10-05/\udcff.csv",)


def test_links_in_a_circle_pipes_and_dangling_links_are_no_files(bench: Bench) -> None:
    bench.touch("s/ds=2026-10-05/a.csv", "elsewhere/b.csv")
    folder = bench.root / "s/ds=2026-10-05"
    (folder / "again").symlink_to(bench.root / "s")
    (folder / "gone.csv").symlink_to(folder / "nothing.csv")
    (folder / "more").symlink_to(bench.root / "elsewhere")
    os.mkfifo(folder / "pipe.csv")
    listed = [f.path for f in walk(bench.landing, source())]
    assert listed == ["s/ds=2026-10-05/a.csv", "s/ds=2026-10-05/more/b.csv"]


def test_a_folder_that_refuses_to_be_listed_is_a_sentence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    bench.touch("s/ds=2026-10-05/a.csv")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match="cannot be listed.*Permission denied"):
        list(walk(bench.landing, source()))
