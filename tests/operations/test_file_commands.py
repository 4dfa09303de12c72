"""The commands on a file source: state, pause, resume, retry, run, backfill, repair, clean, preview."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.clean import clean
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.plan.load_plan import write_plan
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import plan_id
from asgard_assets.operations.runs import Launch, Ran
from tests.operations.conftest import Project
from tests.patience import patience

DAY, NEXT, LAST = "2026-10-05", "2026-10-06", "2026-10-08"


@pytest.fixture
def started(monkeypatch) -> list[tuple[str, list[str], dict]]:
    """Runs that the commands ask for, instead of real ones."""
    asked = []

    def execute(one: Launch, instance: object) -> Ran:
        asked.append((one.assets[0], list(one.partitions), dict(one.config)))
        return Ran(one.assets, one.partitions, ok=True)

    monkeypatch.setattr("asgard_assets.operations.runs.execute", execute)
    return asked


def loaded(lake: Lake, day: str, *names: str) -> None:
    """Commit the day as a load of these files does, without Spark."""
    landing = Landing.from_settings()
    files = [file for name in names if (file := landing.look(f"orders/ds={day}/{name}"))]
    plan = write_plan(lake, "orders", {day: 0}, {day: files}, replaces=True)
    staging = lake.stage("bronze", "orders", pa.schema([("id", pa.string()), ("ds", pa.string())]), [day])
    lake.write(staging, pa.table({"id": ["1"], "ds": [day]}))
    lake.publish(staging, plans={plan_id("orders", day): plan.number})


def reload(asked) -> str:
    return asked[2]["ops"]["files_orders"]["config"]["reload"]


def test_files_tells_each_files_state(project: Project, lake: Lake):
    project.drop(DAY, "a.csv", "id\n1\n")
    project.drop(DAY, "b.csv", "id\n1\n")
    project.drop(DAY, "gone.csv", "id\n1\n")
    loaded(lake, DAY, "a.csv", "b.csv", "gone.csv")
    project.drop(DAY, "b.csv", "id\n1\n2\n")
    (project.landing / "orders" / f"ds={DAY}" / "gone.csv").unlink()
    project.drop(NEXT, "c.csv", "id\n1\n")
    told = project.asgard_json("state", "orders", "--files", "all", "--output", "json")
    assert told["counts"] == {"loaded": 1, "changed": 1, "deleted": 1, "pending": 1}
    pending = project.asgard_json("state", "orders", "--files", "pending", "--output", "json")
    assert [each["path"] for each in pending["files"]] == [f"orders/ds={NEXT}/c.csv"]
    assert "1 changed" in project.asgard("state", "orders", "--partitions", DAY, "--files", "changed")


def test_a_state_or_source_that_does_not_exist_names_those_that_do(project: Project):
    assert "'pending', 'loaded'" in project.asgard("state", "orders", "--files", "lost", code=2)
    with pytest.raises(
        ConfigError, match="'invoice' is no source and selects no asset; the project has orders"
    ):
        project.asgard("state", "invoice")


def test_backlog_has_files_bytes_age_and_the_pause(project: Project):
    path = project.drop(DAY, "a.csv", "id\n1\n")
    os.utime(path, (time.time() - 3600,) * 2)
    project.asgard("pause", "orders", "--reason", "vendor resends")
    [told] = project.asgard_json("state", "--output", "json")
    assert (told["files"], told["bytes"], told["days"]) == (1, 5, 1)
    assert 3600 <= told["oldest_seconds"] < 3600 + patience(100)
    assert "vendor resends" in told["paused"]
    assert "resumed" in project.asgard("resume", "orders")
    assert "was not paused" in project.asgard("resume", "orders")
    assert "attempt 1" in project.asgard("retry", "orders")


def test_run_loads_what_is_new_and_all_loads_everything(project: Project, lake: Lake, started):
    project.drop(DAY, "a.csv", "id\n1\n")
    loaded(lake, DAY, "a.csv")
    project.drop(NEXT, "b.csv", "id\n1\n")
    assert f"{NEXT}: 1 files, 5 bytes" in project.asgard("run", "orders", "--dry-run")
    assert started == []
    project.asgard("run", "orders")
    project.asgard("run", "orders", "--all")
    assert [(days, reload(asked)) for asked in started for days in [asked[1]]] == [
        ([NEXT], "changed"),
        ([DAY, NEXT], "all"),
    ]


def test_backfill_takes_the_days_from_a_date_on(project: Project, started):
    for day in (DAY, NEXT, LAST):
        project.drop(day, "a.csv", "id\n1\n")
    project.asgard("backfill", "orders", "--partitions", f"{NEXT}...{LAST}")
    assert [asked[1] for asked in started] == [[NEXT], [LAST]]
    started.clear()
    project.asgard("backfill", "orders", "--partitions", f"{NEXT}...")
    assert [asked[1] for asked in started] == [[NEXT], [LAST]]
    with pytest.raises(ConfigError, match="outside the calendar"):
        project.asgard("backfill", "orders", "--partitions", "2031-01-01...")
    with pytest.raises(ConfigError, match="invalid date"):
        project.asgard("backfill", "orders", "--partitions", f"{DAY}...tomorrow")
    with pytest.raises(ConfigError, match="--partitions 2026-10-05"):
        project.asgard("backfill", "orders")


def test_repair_reads_files_with_something_in_quarantine_again(project: Project, lake: Lake, started):
    from asgard_assets.ingest.files.plan.quarantine import quarantine_schema

    assert "nothing is in quarantine" in project.asgard("repair", "orders")
    rows = [{"file": "orders/a.csv", "row": n, "kind": "row", "reason": "bad", "ds": DAY} for n in range(3)]
    staging = lake.stage("quarantine", "orders", quarantine_schema(), [DAY])
    lake.write(staging, pa.Table.from_pylist(rows, quarantine_schema()))
    lake.publish(staging)
    assert f"{DAY}: 1 files, 3 records" in project.asgard("repair", "orders", "--dry-run")
    assert started == []
    project.asgard("repair", "orders")
    assert [(asked[1], reload(asked)) for asked in started] == [([DAY], "quarantined")]


def test_repair_forgets_a_file_that_nobody_could_read_and_that_is_gone(project: Project, lake: Lake, started):
    from asgard_assets.ingest.files.plan.quarantine import quarantine_schema, quarantined

    here = project.drop(DAY, "here.csv", "id\n1\n").relative_to(project.landing)
    rows = [
        {"file": str(here), "kind": "file", "reason": "bad", "ds": DAY},
        {"file": "orders/gone.csv", "kind": "file", "reason": "bad", "ds": DAY},
        {"file": "orders/gone too.csv", "row": 1, "kind": "row", "reason": "bad", "raw": "1,2", "ds": DAY},
    ]
    staging = lake.stage("quarantine", "orders", quarantine_schema(), [DAY])
    lake.write(staging, pa.Table.from_pylist(rows, quarantine_schema()))
    lake.publish(staging)
    assert "orders/gone.csv was removed" in project.asgard("repair", "orders", "--dry-run")
    assert len(quarantined(lake, "orders")[DAY]) == 3
    project.asgard("repair", "orders")
    assert quarantined(lake, "orders") == {DAY: {str(here): 1, "orders/gone too.csv": 1}}


def test_preview_shows_rows_schema_and_the_difference_and_writes_nothing(project: Project, lake: Lake):
    project.drop(DAY, "a.csv", "id,extra\n1,x\n2,y\n3\n")
    first = project.asgard_json("preview", "orders", "--limit", "2", "--output", "json")
    assert first["new_table"] and first["columns"] == {"id": "string", "extra": "string"}
    assert [row["id"] for row in first["rows"]] == ["1", "2"]
    assert len(first["bad"]) == 1
    assert lake.tables() == []
    loaded(lake, NEXT)
    second = project.asgard_json("preview", "orders", "--output", "json")
    assert [(c["kind"], c["column"]) for c in second["changes"]] == [("NEW_COLUMN", "extra")]
    assert "nothing was written" in project.asgard("preview", "orders")


def test_a_preview_in_markdown_and_json_can_be_read_whatever_the_files_hold(project: Project):
    project.drop(DAY, "a.jsonl", '{"id": "a|b\\n<c>", "v": {"x": NaN}}\n{"id": 1} {"id": "`2`"}\n')
    project.drop(DAY, "b.xml", "<r/>")
    shown = project.asgard("preview", "orders", "--output", "markdown")
    assert '| id | v |\n| --- | --- |\n| a\\|b &lt;c> | {"x":NaN} |' in shown
    assert "- to quarantine: orders/ds=2026-10-05/a.jsonl record 1: Extra data" in shown
    assert "- cannot be read: orders/ds=2026-10-05/b.xml: XML does not say" in shown
    assert project.asgard_json("preview", "orders", "--output", "json")["new_table"] is True
    assert "'text', 'json', 'markdown'" in project.asgard("preview", "orders", "--output", "html", code=2)


# Cleaning ------------------------------------------------------------------------------------------------


def cleaning(**how: object) -> FileSource:
    return FileSource.model_validate(
        {
            "name": "orders",
            "path": "orders",
            "ds": {"type": "folder"},
            "description": "d",
            "clean": how or None,
        }
    )


def aged(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * 86400,) * 2)


def test_only_old_files_that_are_loaded_as_they_lie_there_are_moved(project: Project, lake: Lake):
    old, new = project.drop(DAY, "old.csv", "id\n1\n"), project.drop(DAY, "new.csv", "id\n1\n")
    changed, never = project.drop(DAY, "changed.csv", "id\n1\n"), project.drop(NEXT, "never.csv", "id\n1\n")
    for path in (old, changed, never):
        aged(path, 40)
    loaded(lake, DAY, "old.csv", "new.csv", "changed.csv")
    changed.write_text("id\n1\n2\n")
    aged(changed, 40)
    landing, source = Landing.from_settings(), cleaning(action="move", after_days=30)
    dry = clean(lake, landing, source, dry_run=True)
    assert (dry.files, dry.bytes, dry.left) == (1, 5, 1) and old.exists()
    assert clean(lake, landing, source).files == 1
    assert not old.exists() and new.exists() and changed.exists() and never.exists()
    assert (project.landing / "_cleaned" / "orders" / f"ds={DAY}" / "old.csv").read_text() == "id\n1\n"


def test_cleaning_is_off_unless_the_source_says_so(project: Project, lake: Lake):
    with pytest.raises(ConfigError, match="cleaning is off"):
        project.asgard("clean", "orders")
    path = project.drop(DAY, "a.csv", "id\n1\n")
    aged(path, 40)
    loaded(lake, DAY, "a.csv")
    assert clean(lake, Landing.from_settings(), cleaning(action="delete", after_days=30)).files == 1
    assert not path.exists()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"clean": {"action": "move", "to": "orders/old"}}, "underscore"),
        ({"clean": {"action": "move"}, "files": "snapshot"}, "clean"),
        ({"clean": {"action": "shred"}}, "action"),
    ],
)
def test_cleaning_that_would_change_tables_is_refused(changes: dict, word: str):
    fields = {"name": "s", "path": "s", "ds": {"type": "folder"}, "description": "d"}
    with pytest.raises(ValueError, match=word):
        FileSource.model_validate(fields | changes)
