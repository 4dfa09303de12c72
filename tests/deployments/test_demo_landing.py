"""The landing files: planted rows as counted, the same bytes each time, untouched where they are right."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from deployments.local.demo.landing import days_between, files, land, open_items, planted
from deployments.local.demo.world import World

DAYS = days_between("2026-10-05..2026-11-01")
WORLD = World()  # simulated as far as the tests ask


def rows_of(root: Path, source: str, day: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for path in sorted((root / source / f"ds={day}").iterdir()):
        text = path.read_text()
        if path.suffix == ".csv":
            rows += csv.DictReader(text.splitlines())
        else:
            rows += [json.loads(line) for line in text.splitlines()]
    return rows


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("landing")
    land(root, DAYS)
    return root


@pytest.mark.parametrize("day", DAYS)
def test_invoices_have_exactly_the_planted_bad_rows(landed: Path, day: str) -> None:
    rows = rows_of(landed, "invoices", day)
    copies = len(rows) - len({str(row["invoice_id"]) for row in rows})
    bad_amounts = sum(row["amount"] == "12,5O" for row in rows)
    nobody = sum(row["user_id"] in ("", None) for row in rows)
    found = {"duplicate": copies, "bad_amount": bad_amounts, "null_user": nobody}
    assert found == planted(day)["invoices"]
    handed_over = open_items(WORLD) if day == DAYS[0] else []
    assert len(rows) - sum(found.values()) == len(WORLD.invoices(day)) + len(handed_over)


def test_the_first_day_brings_the_open_items_of_four_weeks(landed: Path) -> None:
    """Unpaid, known on that day, and of numbers that no later invoice has."""
    (path,) = landed.glob("invoices/*/*-open.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert path.parent.name == f"ds={DAYS[0]}"
    assert {row["paid"] for row in rows} == {"false"} and len(rows) > 200
    assert ("2026-09-07", "2026-10-04") == (
        min(r["issued_at"] for r in rows),
        max(r["issued_at"] for r in rows),
    )
    later = {row["invoice_id"] for day in DAYS for row in WORLD.invoices(day)}
    assert later.isdisjoint(int(row["invoice_id"]) for row in rows)


@pytest.mark.parametrize("day", DAYS)
def test_contacts_have_exactly_the_planted_bad_rows(landed: Path, day: str) -> None:
    rows = rows_of(landed, "contacts", day)
    counts = Counter(tuple(row.values()) for row in rows)
    found = {
        "duplicate": sum(count - 1 for count in counts.values()),
        "null_email": sum(not row["email"] for row in rows),
        "wrong_type": sum(not str(row["user_id"]).isdigit() for row in rows),
    }
    assert found == planted(day)["contacts"]


def test_contacts_without_an_email_on_the_first_day_are_corrected_on_the_second(landed: Path) -> None:
    lost = {row["user_id"] for row in rows_of(landed, "contacts", DAYS[0]) if not row["email"]}
    corrected = {row["user_id"] for row in rows_of(landed, "contacts", DAYS[1]) if row["email"]}
    assert len(lost) == 5
    assert lost <= corrected


def test_discount_appears_on_the_second_day(landed: Path) -> None:
    assert "discount" not in rows_of(landed, "invoices", DAYS[0])[0]
    assert all("discount" in row for day in DAYS[1:] for row in rows_of(landed, "invoices", day))


def test_some_days_have_json_lines_beside_the_csv(landed: Path) -> None:
    assert len(list(landed.glob("invoices/*/*.csv"))) == 29
    assert len(list(landed.glob("invoices/*/*-b.jsonl"))) == 9


def test_landing_again_writes_nothing_and_mends_what_was_changed(tmp_path: Path) -> None:
    first = land(tmp_path, DAYS[:3])
    times = {path: path.stat().st_mtime_ns for path in first}
    assert land(tmp_path, DAYS[:3]) == []
    assert {path: path.stat().st_mtime_ns for path in first} == times
    content = first[1].read_bytes()
    first[1].write_bytes(b"half a file")
    assert land(tmp_path, DAYS[:3]) == [first[1]]
    assert first[1].read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {"invoices", "contacts"}


def test_the_command_lands_the_same_bytes_from_another_process(landed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deployments.local.demo.landing", "--days", "2026-10-05..2026-10-08"]
    told = subprocess.run([*command, "--root", tmp_path], capture_output=True, text=True, check=True)
    assert "files written below" in told.stdout
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 10
    for path in written:
        assert path.read_bytes() == (landed / path.relative_to(tmp_path)).read_bytes()


def test_days_are_independent_of_each_other_and_refused_before_the_first() -> None:
    alone = dict(files(World(), "2026-10-20"))
    for day in DAYS:
        together = dict(files(WORLD, day))
        if day == "2026-10-20":
            assert together == alone
    with pytest.raises(ValueError, match="nothing landed before 2026-10-05"):
        list(files(WORLD, "2026-10-04"))
    with pytest.raises(ValueError, match="comes before"):
        days_between("2026-10-08..2026-10-05")
