"""The plain model: the same events without lake, runs or sensors. It says what is in every table, and which partitions
had to be built for that at the declared pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from asgard_assets.windows import Calendar
from tests.month.engines import asked_for, pulls
from tests.month.tables import Made, Rows, hours_in

PACE = timedelta(minutes=15)


@dataclass
class Oracle:
    """Everything is built in the moment in which it can be; an open window at its pace."""

    calendar: Calendar
    hours: Calendar
    tables: Callable[[], list[Made]]
    api: bool = True
    """Whether the API is asked."""
    files: dict[str, dict[str, dict[str, Rows]]] = field(
        default_factory=dict[str, dict[str, dict[str, Rows]]]
    )
    rows: dict[str, dict[str, Rows]] = field(default_factory=dict[str, dict[str, Rows]])
    builds: Counter[str] = field(default_factory=Counter[str])
    orders: dict[str, Rows] = field(default_factory=dict[str, Rows])
    """What the API has of a day now."""
    starts: int = 0
    """How often Spark had to be started, at least: once whenever something of it was due."""
    looked: datetime | None = None
    changed: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    read: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    built: dict[tuple[str, str], datetime] = field(default_factory=dict[tuple[str, str], datetime])

    def drop(self, source: str, key: str, name: str, rows: Rows) -> None:
        """A file is there. What else lies in its partition stays."""
        self.files.setdefault(source, {}).setdefault(key, {})[name] = rows
        self.changed.add((source, key))

    def again(self, table: str) -> None:
        """A person has all that is built of a table built again, as its code is now. That was not the platform's doing."""
        [made] = [each for each in self.tables() if each.address == table]
        for key in self.rows.get(table, {}):
            self.rows[table][key] = sorted(made.value(self.look, key))

    def look(self, table: str, first: str, last: str) -> Mapping[str, Rows]:
        return {key: rows for key, rows in self.rows.get(table, {}).items() if first <= key <= last}

    def step(self, now: datetime) -> None:
        """Load what came, and build what it changes."""
        for source, key in sorted(self.changed):
            window = (self.hours if "T" in key else self.calendar).window(key)
            if now < window.start:
                continue  # no partition yet
            self.changed.discard((source, key))
            found = [row for rows in self.files[source][key].values() for row in rows]
            self.rows.setdefault(f"bronze/{source}", {})[key] = sorted(found)
            self.builds[f"bronze/{source}"] += source == "sales"
        for pull in pulls(self.calendar, self.looked or self.first, now) if self.api else ():
            for day in asked_for(self.calendar, pull):
                self.rows.setdefault("bronze/orders", {})[day] = sorted(self.orders.get(day, [(1, 1)]))
                self.builds["bronze/orders"] += 1
        self.looked = now
        for made in self.tables():
            before = self.builds[made.address]
            for window in made.calendar(self.calendar).overlapping(self.first, now):
                self._follow(made, window.key, now, window.is_open(now))
            self.starts += made.engine == "spark" and self.builds[made.address] > before

    @property
    def first(self) -> datetime:
        assert self.calendar.first
        return self.calendar.window(self.calendar.first.isoformat()).start

    def _follow(self, made: Made, key: str, now: datetime, is_open: bool) -> None:
        at = made.address, key
        if not self._there(made, key, now) or is_open and at in self.built and now < self.built[at] + PACE:
            return
        read = self._reads(made, key)
        if at not in self.built or self.read[at] != read:
            self.rows.setdefault(made.address, {})[key] = sorted(made.value(self.look, key))
            self.read[at], self.built[at] = self._reads(made, key), now
            self.builds[made.address] += 1

    def _there(self, made: Made, key: str, now: datetime) -> bool:
        if made.chain and key != self.calendar.window_at(self.first).key:
            if self.calendar.after(key, -1) not in self.rows.get(made.address, {}):
                return False
        for table in made.reads:
            there = self.rows.get(table, {})
            if table == "bronze/clicks":
                hours = self._hours_in(made, key)
                ended = [hour for hour in hours if self.hours.window(hour).end <= now]
                if not all(hour in there for hour in ended) or not any(hour in there for hour in hours):
                    return False
            elif key not in there:
                return False
        return True

    def _hours_in(self, made: Made, key: str) -> list[str]:
        return hours_in(made.calendar(self.calendar), key, self.hours)

    def _reads(self, made: Made, key: str) -> Any:
        found = []
        for table, back in made.reads.items():
            if table == "bronze/clicks":
                there = self.rows.get(table, {})
                found.append({hour: there[hour] for hour in self._hours_in(made, key) if hour in there})
            else:
                found.append(dict(self.look(table, self.calendar.after(key, -back), key)))
        before = self.calendar.after(key, -1)
        return [*found, self.rows.get(made.address, {}).get(before) if made.chain else None]
