"""A plan is done when its number was committed, and not before; the manifest is what those plans say."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from asgard_assets.ingest.files.landing import File
from asgard_assets.ingest.files.plan import load_plan as plans
from asgard_assets.ingest.files.plan import manifest as module
from asgard_assets.ingest.files.plan.load_plan import LoadPlan, read_plan, write_plan
from asgard_assets.ingest.files.plan.manifest import Known, Manifest, open_manifest
from asgard_assets.lake import Lake

DAY, NEXT = "2026-10-05", "2026-10-06"
A, B, C = File("s/a.csv", 1, 10), File("s/b.csv", 2, 20), File("s/c.csv", 3, 30, "e-tag")
SCHEMA = pa.schema([("x", pa.int64()), ("ds", pa.string())])


def plan(lake: Lake, replaces: bool = False, **days: list[File]) -> LoadPlan:
    """The next plan, as a load makes it: over what the manifest says of the days."""
    files = {day.replace("_", "-")[1:]: listed for day, listed in days.items()}
    numbers = open_manifest(lake, "s").numbers
    return write_plan(lake, "s", {day: numbers.get(day, 0) for day in files}, files, replaces)


def commit(lake: Lake, plan: LoadPlan, *days: str) -> None:
    days = days or tuple(plan.previous)
    staging = lake.stage("bronze", "s", SCHEMA, days)
    lake.publish(staging, plans={app: n for app, n in plan.transactions.items() if app[2:] in days})


def known(manifest: Manifest) -> dict[str, str]:
    return {entry.file.path: entry.ds for entry in manifest.entries()}


def test_a_plan_is_read_as_it_was_written(lake: Lake) -> None:
    written = plan(lake, _2026_10_05=[A, C], _2026_10_06=[])
    assert read_plan(lake, "s", 1) == LoadPlan("s", 1, {DAY: 0, NEXT: 0}, {DAY: (A, C)})
    assert written.transactions == {f"s/{DAY}": 1, f"s/{NEXT}": 1}
    assert plan(lake, _2026_10_05=[A]).number == 2


@pytest.mark.slow
def test_of_a_big_plan_that_nobody_committed_only_the_beginning_is_read(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = {f"_{year}_{month:02}_01": [A] for year in range(1000, 3000) for month in (1, 2)}
    written = plan(lake, False, **days)  # its very first line is longer than what is looked at
    assert read_plan(lake, "s", 1) == written
    files = [File(f"s/{hashlib.sha256(str(n).encode()).hexdigest()}", n, n) for n in range(3_000)]
    listed = plan(lake, _2026_10_05=files)
    assert read_plan(lake, "s", 2) == LoadPlan("s", 2, {DAY: 0}, {DAY: tuple(sorted(files))})
    monkeypatch.setattr(plans.PlanFile, "plan", lambda _: pytest.fail("all of it is read"))
    assert known(open_manifest(lake, "s")) == {}
    monkeypatch.undo()
    commit(lake, listed)
    assert len(known(open_manifest(lake, "s"))) == len(files)


def test_a_list_of_several_members_is_read_from_anywhere(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLD_PLANS", 0)
    monkeypatch.setattr(module, "MEMBER_FILES", 3)
    monkeypatch.setattr(module, "MEMBERS_AT_ONCE", 2)
    files = [File(f's/{n:02}"\n,é.csv', n, n) for n in range(20)]
    commit(lake, plan(lake, _2026_10_05=files[::2], _2026_10_06=files[1::2]))
    folded = open_manifest(lake, "s", fold=True)
    assert [entry.file for entry in folded.entries()] == files
    for n in range(20):
        assert [entry.file for entry in folded.entries(files[n].path)] == files[n + 1 :]
        assert folded.of_paths([files[n].path, "s/", "z"]).keys() == {files[n].path}
    assert list(folded.of_days({NEXT}).values()) == [Known(f, NEXT) for f in files[1::2]]
    assert [f.name.count("-") for f in sorted((Path(lake.root) / "_manifest/s").iterdir())] == [1, 0]


def test_a_plan_without_its_commit_is_not_done_and_stays_so_when_a_later_one_is(lake: Lake) -> None:
    commit(lake, plan(lake, _2026_10_05=[A]))
    plan(lake, _2026_10_05=[B])  # killed before it committed
    assert known(open_manifest(lake, "s")) == {A.path: DAY}
    commit(lake, plan(lake, _2026_10_05=[C]))
    assert known(open_manifest(lake, "s")) == {A.path: DAY, C.path: DAY}


def test_a_done_day_does_not_hide_another_one(lake: Lake) -> None:
    both = plan(lake, _2026_10_05=[A], _2026_10_06=[B])
    commit(lake, both, NEXT)
    assert known(open_manifest(lake, "s")) == {B.path: NEXT}


def test_the_last_load_of_a_file_counts_whichever_day_it_was_for(lake: Lake) -> None:
    commit(lake, plan(lake, _2026_10_05=[A]))
    changed = File(A.path, A.size, A.modified_us + 1)
    commit(lake, plan(lake, _2026_10_06=[changed]))
    [entry] = open_manifest(lake, "s").entries()
    assert (entry.ds, entry.file) == (NEXT, changed)


def test_a_plan_that_replaces_its_day_forgets_the_files_before_it(lake: Lake) -> None:
    commit(lake, plan(lake, _2026_10_05=[A], _2026_10_06=[B]))
    commit(lake, plan(lake, replaces=True, _2026_10_05=[C]))
    assert known(open_manifest(lake, "s")) == {B.path: NEXT, C.path: DAY}


def test_folding_changes_nothing_that_is_known(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(lake, plan(lake, _2026_10_05=[A], _2026_10_06=[B]))
    slow = plan(lake, _2026_10_06=[C])  # on its way while others fold
    monkeypatch.setattr(module, "FOLD_PLANS", 0)
    folded = open_manifest(lake, "s", fold=True)
    assert folded.base is not None
    assert known(folded) == known(open_manifest(lake, "s")) == {A.path: DAY, B.path: NEXT}
    commit(lake, slow)
    assert known(open_manifest(lake, "s")) == {A.path: DAY, B.path: NEXT, C.path: NEXT}
    again = open_manifest(lake, "s", fold=True)
    assert list(again.entries(A.path)) == list(again.entries())[1:]
    assert again.of_days({DAY}).keys() == {A.path}
    assert again.of_paths([B.path, "s/x"]).keys() == {B.path}
    commit(lake, plan(lake, replaces=True, _2026_10_06=[A]))
    assert known(open_manifest(lake, "s")) == {A.path: NEXT}


def test_the_last_list_is_kept_for_its_readers_and_those_before_go(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLD_PLANS", 0)
    readers = []
    for n in range(4):
        commit(lake, plan(lake, _2026_10_05=[File(f"s/{n}", n, n)]))
        readers.append(open_manifest(lake, "s", fold=True))
    folder = Path(lake.root) / "_manifest/s"
    assert sorted(f.name[:8] for f in folder.iterdir()) == ["00000003"] * 2 + ["00000004"] * 2
    assert [len(known(reader)) for reader in readers[2:]] == [3, 4]


@pytest.mark.parametrize("ours", [True, False])
def test_an_index_that_is_there_already_is_ours_or_that_of_another_load(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    monkeypatch.setattr(module, "FOLD_PLANS", 0)
    commit(lake, plan(lake, _2026_10_05=[A]))
    once = Lake.put_new

    def refused(where: Lake, path: str, content: bytes) -> bool:
        monkeypatch.undo()
        if ours:  # the store's answer was lost, and its client asked again
            once(where, path, content)
        else:
            assert open_manifest(lake, "s").base is None
            monkeypatch.setattr(module, "FOLD_PLANS", 0)
            open_manifest(lake, "s", fold=True)
        return False

    monkeypatch.setattr(Lake, "put_new", refused)
    assert known(open_manifest(lake, "s", fold=True)) == {A.path: DAY}
    assert known(open_manifest(lake, "s")) == {A.path: DAY}
    assert len(list((Path(lake.root) / "_manifest/s").iterdir())) == 2


def test_a_lost_manifest_is_made_again_and_lost_plans_are_told(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLD_PLANS", 0)
    commit(lake, plan(lake, _2026_10_05=[A]))
    open_manifest(lake, "s", fold=True)
    commit(lake, plan(lake, _2026_10_05=[B]))
    shutil.rmtree(Path(lake.root) / "_manifest")
    assert known(open_manifest(lake, "s")) == {A.path: DAY, B.path: DAY}
    (Path(lake.root) / "_plans/s/00000001.jsonl.gz").unlink()
    assert open_manifest(lake, "s").broken == {DAY}


def test_a_table_restored_to_an_earlier_version_is_believed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLD_PLANS", 0)
    commit(lake, plan(lake, _2026_10_05=[A]))
    version = lake.version("bronze", "s")
    commit(lake, plan(lake, _2026_10_05=[B]))
    open_manifest(lake, "s", fold=True)
    log = Path(lake.path("bronze", "s")) / "_delta_log"
    for entry in sorted(log.glob("*.json"))[version + 1 :]:
        entry.unlink()
    assert known(open_manifest(lake, "s")) == {A.path: DAY}
