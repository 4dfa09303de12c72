"""Write the files that land in the demo's folders: invoices and CRM contacts, a folder a day.

    python -m deployments.local.demo.landing --days 2026-10-05..2026-11-01 --root .asgard/landing

A file appears whole (written aside, then renamed) and is always the same, byte for byte; an existing
file with the same content is left alone, its modification time too, so that no loader sees it as new.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from deployments.local.demo.planted import planted
from deployments.local.demo.world import START, World, number_of

Row = dict[str, Any]
INVOICE = ("invoice_id", "user_id", "amount", "currency", "issued_at", "due_at", "paid")
CONTACT = ("user_id", "email", "plan", "country", "updated_at")
OPEN_DAYS = 28  # before START, whose unpaid invoices come as a file of the first day
BAD_INVOICES = 900_000_000  # ids of planted invoices count from here, so that they hide no good one

__all__ = ["contact_rows", "days_between", "files", "invoice_rows", "land", "planted"]


def invoice_rows(world: World, day: date | str) -> tuple[list[Row], list[Row]]:
    """Rows of the day's CSV file and of its JSON-lines file (empty on two days of three)."""
    bad, number, rows = planted(day, world.users, world.seed)["invoices"], number_of(day), world.invoices(day)
    good = len(rows)
    second = rows[good * 2 // 3 :] if number % 3 == 1 else []
    first = rows[: good - len(second)]
    # Where there are two files, the last of the duplicates crosses from one to the other.
    copies = [dict(first[(7 * n + 3) % len(first)]) for n in range(bad["duplicate"])]
    extra = BAD_INVOICES + 100 * number
    wrong = [
        {**rows[n % good], "invoice_id": extra + n, "amount": "12,5O"} for n in range(bad["bad_amount"])
    ] + [
        {**rows[(n + 5) % good], "invoice_id": extra + 50 + n, "user_id": None}
        for n in range(bad["null_user"])
    ]
    if second:
        second = _mixed(second, [copies.pop()])
    return _mixed(first, wrong + copies), second


def open_items(world: World) -> list[Row]:
    """What accounting hands over on the first day: the invoices of the 28 days before it that are not paid."""
    before = [world.invoices(START - timedelta(days=n)) for n in range(OPEN_DAYS, 0, -1)]
    return [row for rows in before for row in rows if not row["paid"]]


def contact_rows(world: World, day: date | str) -> list[Row]:
    """Rows of the day's contacts file."""
    bad, rows = planted(day, world.users, world.seed)["contacts"], world.contacts(day)
    state, today, active = world.day(day)
    number = number_of(day)
    if number == 0:
        lost = set(_lost_on_start(world))
        rows = [{**row, "email": None} if row["user_id"] in lost else row for row in rows]
        wrong: list[Row] = []
    else:
        if number == 1:
            known = {row["user_id"] for row in rows}
            late = [user for user in _lost_on_start(world) if user not in known]
            rows = sorted(
                rows + [world.contact(day, user, state, today) for user in late],
                key=lambda row: row["user_id"],
            )
        changed = {row["user_id"] for row in rows}
        still = [u for u in world.ids[active].tolist() if u not in changed]
        chosen = [still[(31 * number + 101 * n) % len(still)] for n in range(bad["null_email"])]
        wrong = [{**world.contact(day, user, state, today), "email": None} for user in chosen]
    good = [row for row in rows if row["email"]]
    wrong += [
        {**good[n % len(good)], "user_id": f"user-{17 + 3 * n}", "email": f"typo{n}@example.com"}
        for n in range(bad["wrong_type"])
    ]
    copies = [dict(good[(11 * n) % len(good)]) for n in range(bad["duplicate"])]
    return _mixed(rows, wrong + copies)


def _lost_on_start(world: World) -> list[int]:
    return [1 + (29 + 37 * n) % world.users for n in range(planted(START)["contacts"]["null_email"])]


def _mixed(rows: list[Row], extra: list[Row]) -> list[Row]:
    """`extra` spread over `rows` at fixed places."""
    mixed = list(rows)
    for n, row in enumerate(extra):
        mixed.insert((13 * n + 6) % (len(mixed) + 1), row)
    return mixed


def files(world: World, day: date | str) -> Iterator[tuple[str, bytes]]:
    """Name below the landing root and content of each file of the day."""
    number = number_of(day)
    if number < 0:
        raise ValueError(f"{day}: nothing landed before {START}")
    columns = INVOICE if number == 0 else (*INVOICE, "discount")
    first, second = invoice_rows(world, day)
    yield f"invoices/ds={day}/invoices-{day}.csv", _csv(columns, first)
    if number == 0:
        yield f"invoices/ds={day}/invoices-{day}-open.csv", _csv(columns, open_items(world))
    if second:
        lines = "".join(json.dumps({c: row[c] for c in columns}) + "\n" for row in second)
        yield f"invoices/ds={day}/invoices-{day}-b.jsonl", lines.encode()
    yield f"contacts/ds={day}/contacts-{day}.csv", _csv(CONTACT, contact_rows(world, day))


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def land(root: Path | str, days: Iterable[date | str], users: int = 800, seed: int = 42) -> list[Path]:
    """Write the files of `days` below `root`; returns those that were new or had to change."""
    world, root, written = World(users, seed), Path(root), []
    for day in days:
        for name, content in files(world, day):
            path = root / name
            if path.is_file() and path.read_bytes() == content:
                continue
            # Written outside of the folders that loaders list, on the same file system.
            aside = root / ".incoming" / f"{os.getpid()}-{path.name}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(content)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside, path)
            written.append(path)
    with contextlib.suppress(OSError):  # another writer may be at work in it
        (root / ".incoming").rmdir()
    return written


def days_between(text: str) -> list[str]:
    """Days of "A..B", both included, or of a single "A"."""
    first, _, last = text.partition("..")
    start, end = date.fromisoformat(first), date.fromisoformat(last or first)
    if end < start:
        raise ValueError(f"{text}: the last day comes before the first")
    return [(start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="deployments.local.demo.landing", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--days", required=True, help="2026-10-05..2026-11-01, or one day")
    parser.add_argument("--root", type=Path, required=True, help="landing folder")
    parser.add_argument("--users", type=int, default=800)
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args(arguments)
    try:
        days = days_between(given.days)
        written = land(given.root, days, given.users, given.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    sys.stdout.write(f"{len(written)} files written below {given.root} for {len(days)} days\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
