"""A link that leads out of the landing root is named, and never followed: listed, opened, moved or deleted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.clean import clean
from asgard_assets.ingest.files.landing import File, bounds
from asgard_assets.ingest.files.landing.area import walk
from asgard_assets.ingest.files.landing.notices import notices_of, read_notices
from asgard_assets.ingest.files.plan.listing import scan
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench

DAY = DAYS[0]
LATER = datetime.now(UTC) + timedelta(days=40)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A landing root that is a link itself, as a mounted volume's may be."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "landing").symlink_to(tmp_path / "volume")
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path))
    return Settings()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "precious.csv").write_text("id\n666\n")
    return folder


@pytest.fixture
def bench(lake: Lake, settings: Settings) -> Bench:
    return Bench(None, lake, settings, clean={"action": "delete", "after_days": 1})


def folder_of(bench: Bench) -> Path:
    return bench.drop(DAY, "good.csv", "id\n1\n").parent


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "a file": lambda folder, elsewhere: (folder / "x.csv").symlink_to(elsewhere / "precious.csv"),
    "a folder": lambda folder, elsewhere: (folder / "x").symlink_to(elsewhere),
    "by way of another link": lambda folder, elsewhere: (
        (folder / ".hop").symlink_to(elsewhere),
        (folder / "x.csv").symlink_to(".hop/precious.csv"),
    ),
    "relative": lambda folder, elsewhere: (folder / "x.csv").symlink_to("../../../elsewhere/precious.csv"),
    "this process": lambda folder, elsewhere: (folder / "x.txt").symlink_to("/proc/self/environ"),
    "a name that begins alike": lambda folder, elsewhere: (
        Path(f"{folder.parents[2]}-2").mkdir(),
        (Path(f"{folder.parents[2]}-2") / "a.csv").write_text("id\n666\n"),
        (folder / "x.csv").symlink_to(Path(f"{folder.parents[2]}-2") / "a.csv"),
    ),
}


@pytest.mark.parametrize("kind", LINKS)
def test_what_leads_out_is_left_out_and_named_and_all_else_is_loaded(
    bench: Bench, elsewhere: Path, kind: str
) -> None:
    folder = folder_of(bench)
    LINKS[kind](folder, elsewhere)
    seen = scan(bench.lake, bench.landing, bench.source)
    assert [Path(path).name for path in seen.links_out] in (["x.csv"], ["x"], ["x.txt"])
    loaded = bench.run()
    assert loaded.links_out == seen.links_out and bench.rows("id::int") == [(1,)]
    assert clean(bench.lake, bench.landing, bench.source, now=LATER).files == 1
    assert (elsewhere / "precious.csv").exists()


def test_a_source_folder_that_leads_out_is_refused(bench: Bench, elsewhere: Path) -> None:
    bench.folder.rmdir()
    bench.folder.symlink_to(elsewhere)
    with pytest.raises(SourceError, match="leads out of the landing root"):
        list(walk(bench.landing, bench.source))


def test_links_that_stay_inside_are_followed(bench: Bench) -> None:
    folder = folder_of(bench)
    (folder / "again.csv").symlink_to("good.csv")
    (Path(bench.landing.root) / "shared").mkdir()
    (Path(bench.landing.root) / "shared" / "more.csv").write_text("id\n2\n")
    (folder / "shared").symlink_to(Path(bench.landing.root).resolve() / "shared")
    assert bench.run().links_out == () and bench.rows("id::int", "1") == [(1,), (1,), (2,)]


@pytest.mark.parametrize("swap", ["file", "folder"])
def test_what_is_swapped_between_the_listing_and_the_open_is_not_read(
    bench: Bench, elsewhere: Path, swap: str
) -> None:
    folder = folder_of(bench)
    (listed,) = walk(bench.landing, bench.source)
    (elsewhere / "good.csv").write_text("id\n666\n")
    (folder / "good.csv").unlink()
    if swap == "file":
        (folder / "good.csv").symlink_to(elsewhere / "good.csv")
    else:
        folder.rmdir()
        folder.symlink_to(elsewhere)
    for opened in (bench.landing.open_stream, bench.landing.open_file):
        with pytest.raises(SourceError, match=r"good\.csv is or passes a link .* to .*elsewhere"):
            opened(listed.path)
    assert bench.landing.look(listed.path) is None


def test_what_was_opened_counts_and_not_what_its_name_leads_to_later(
    bench: Bench, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked at, swapped, opened, and swapped back."""
    folder = folder_of(bench)
    system = os.open

    def swapped(path: str, *arguments: int, **how: int) -> int:
        os.rename(folder / "good.csv", folder / ".kept")
        (folder / "good.csv").symlink_to(elsewhere / "precious.csv")
        try:
            return system(path, *arguments, **how)
        finally:
            os.rename(folder / ".kept", folder / "good.csv")

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(SourceError, match="leads out"):
        bench.landing.open_stream(f"invoices/ds={DAY}/good.csv")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(bench: Bench) -> None:
    path = folder_of(bench) / "good.csv"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceError, match="is no file"):
        bench.landing.open_stream(f"invoices/ds={DAY}/good.csv")


@pytest.mark.parametrize("action", ["delete", "move"])
def test_clean_takes_nothing_from_a_folder_that_was_swapped_for_a_link(
    lake: Lake, settings: Settings, elsewhere: Path, action: str
) -> None:
    bench = Bench(None, lake, settings, clean={"action": action, "after_days": 1})
    loaded = folder_of(bench) / "deep" / "precious.csv"
    loaded.parent.mkdir()
    loaded.write_text("id\n666\n")
    moment = os.stat(elsewhere / "precious.csv").st_mtime_ns
    os.utime(loaded, ns=(moment, moment))
    bench.run()
    states = [File(f"invoices/ds={DAY}/deep/precious.csv", 7, moment // 1000)]
    loaded.unlink()
    loaded.parent.rmdir()
    loaded.parent.symlink_to(elsewhere)
    assert clean(bench.lake, bench.landing, bench.source, now=LATER).files == 1  # good.csv
    for each in states:
        with pytest.raises(SourceError, match="leads out"):
            bounds.remove(bench.landing.root, each.path)
        with pytest.raises(SourceError, match="leads out"):
            bounds.move(bench.landing.root, each.path, f"_cleaned/{each.path}")
    assert (elsewhere / "precious.csv").exists()


@pytest.mark.parametrize("link", ["_cleaned", "_cleaned/invoices"])
def test_nothing_is_moved_into_a_folder_that_leads_out(
    lake: Lake, settings: Settings, elsewhere: Path, link: str
) -> None:
    bench = Bench(None, lake, settings, clean={"action": "move", "after_days": 1})
    folder_of(bench)
    bench.run()
    at = Path(bench.landing.root) / link
    at.parent.mkdir(exist_ok=True)
    at.symlink_to(elsewhere)
    done = clean(bench.lake, bench.landing, bench.source, now=LATER)
    assert (done.files, done.left) == (0, 1) and "leads out of the landing root" in done.refused[0]
    assert os.listdir(elsewhere) == ["precious.csv"]


def test_a_file_is_moved_where_it_was_and_to_another_file_system(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(None, lake, settings, clean={"action": "move", "after_days": 1})
    path = folder_of(bench) / "good.csv"
    before = path.stat().st_mtime_ns
    bench.run()
    system, refused = os.rename, [False]

    def rename(*arguments: str, **how: int) -> None:
        if not refused[0]:
            refused[0] = True
            raise OSError(18, "Invalid cross-device link")
        system(*arguments, **how)

    monkeypatch.setattr(os, "rename", rename)
    assert clean(bench.lake, bench.landing, bench.source, now=LATER).files == 1
    moved = Path(bench.landing.root) / "_cleaned" / "invoices" / f"ds={DAY}"
    assert not path.exists() and os.listdir(moved) == ["good.csv"]
    assert ((moved / "good.csv").read_text(), (moved / "good.csv").stat().st_mtime_ns) == ("id\n1\n", before)


def test_messages_are_neither_read_nor_removed_through_a_link(
    lake: Lake, settings: Settings, elsewhere: Path
) -> None:
    bench = Bench(None, lake, settings, notify={"type": "folder", "path": "_events/invoices"})
    event = {"eventName": "s3:ObjectCreated:Put", "s3": {"object": {"key": f"invoices/ds={DAY}/good.csv"}}}
    (elsewhere / "m.json").write_text(json.dumps({"Records": [event]}))
    folder_of(bench)
    events = Path(bench.landing.root) / "_events"
    (events / "invoices").mkdir(parents=True)
    (events / "invoices" / "m.json").symlink_to(elsewhere / "m.json")
    notices = notices_of(bench.landing, bench.source)
    assert notices is not None
    found, unread = read_notices(bench.landing, bench.source, notices)
    assert unread == 1 and [notice.files for notice in found] == [()]
    notices.remove([notice.handle for notice in found])
    assert (elsewhere / "m.json").exists() and os.listdir(events / "invoices") == []
    (events / "invoices").rmdir()
    (events / "invoices").symlink_to(elsewhere)
    for act in (lambda: list(notices.receive(10, 1)), lambda: notices.remove(["_events/invoices/m.json"])):
        with pytest.raises(SourceError, match="leads out"):
            act()
    assert (elsewhere / "m.json").exists()


def test_an_event_for_a_file_behind_a_link_asks_for_no_run(bench: Bench, elsewhere: Path) -> None:
    folder = folder_of(bench)
    (folder / "x").symlink_to(elsewhere)
    assert bench.landing.look(f"invoices/ds={DAY}/x/precious.csv") is None


def test_a_listing_ends_whatever_the_links_and_folders(bench: Bench) -> None:
    folder = folder_of(bench)
    for one, other in (("x", "y"), ("y", "x")):
        (folder / one).mkdir()
        for name in ("l1", "l2", "l3"):
            (folder / one / name).symlink_to(f"../{other}")
        (folder / one / "f.csv").write_text("id\n7\n")
    deep = folder
    for _ in range(130):
        deep = deep / "d"
        deep.mkdir()
    (deep / "f.csv").write_text("id\n8\n")
    links: list[str] = []
    names = [file.path for file in walk(bench.landing, bench.source, links_out=links)]
    assert len(names) == len(set(names)) < 20
    assert any(name.endswith("/x/f.csv") for name in names)
    assert [link.rpartition("… ")[2] for link in links] == ["(more than 100 folders deep)"]
