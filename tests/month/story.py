"""What happens in a month: files that come when they come, and everything that goes wrong beside them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
import pyarrow as pa

from asgard_assets.lake.maintenance import maintain
from tests.month.engines import LOOKBACK, pulls
from tests.month.oracle import Oracle
from tests.month.tables import SCHEMA, Rows, rows_of
from tests.month.world import World

HOUR = timedelta(hours=1)


@dataclass(frozen=True, order=True)
class Event:
    at: datetime
    number: int
    what: str
    happens: Callable[[], None]


class Story:
    """The events of so many days, by seed. Each kind of trouble comes at least `troubles` times."""

    def __init__(self, world: World, oracle: Oracle, seed: int, days: int, troubles: int) -> None:
        self.world, self.oracle, self.chance = world, oracle, random.Random(seed)
        self.days = [
            window.key for window in oracle.calendar.overlapping(oracle.first, oracle.first + timedelta(days))
        ][:days]
        self.events, self.told = list[Event](), list[str]()
        for day in self.days:
            self._files_of(day)
        kinds = [kind for kind in vars(Story) if kind.startswith("trouble_")]
        for kind in kinds * troubles:
            at = oracle.first + timedelta(hours=self.chance.uniform(26, 24 * days - 8))
            self._plan(at, kind.removeprefix("trouble_"), getattr(self, kind))
        middle = oracle.first + timedelta(days=days / 2)
        self._plan(middle, "a table is added", self._added)
        self._plan(middle + 7 * HOUR, "code changes", self._changed)
        self._plan(middle + 9 * HOUR, "the history is lost", self._lost)
        for number in range(days):
            at = oracle.first + timedelta(days=number, hours=3.5)
            self._plan(at, "maintenance", self._maintained)
        self.events.sort()

    def _plan(self, at: datetime, what: str, happens: Callable[[], None]) -> None:
        self.events.append(Event(at, len(self.events), what, happens))

    def _later(self, what: str, happens: Callable[[], None]) -> None:
        """It cannot happen now."""
        self._plan(self.world.now + HOUR, what, happens)
        self.events.sort()

    def _files_of(self, day: str) -> None:
        window = self.oracle.calendar.window(day)
        for part, hour in enumerate((6, 12, 18, 24.5)):
            late = self.chance.uniform(6, 60) if self.chance.random() < 0.15 else 0.0
            rows = self._some(part)
            self._plan(
                window.start + (hour + late) * HOUR,
                f"sales {day} {part}",
                lambda p=part, r=rows: self._drop("sales", day, f"p{p}", r),
            )
        orders = self._some(0)
        self._plan(window.end - HOUR, f"orders {day}", lambda: self._orders(day, orders))
        blocks = dict[datetime, dict[str, Rows]]()
        for hour in self.oracle.hours.overlapping(window.start, window.end):
            block = window.start + ((hour.end - window.start - HOUR) // (6 * HOUR) + 1) * 6 * HOUR
            late = self.chance.uniform(5, 30) if self.chance.random() < 0.03 else 0.1
            blocks.setdefault(block + late * HOUR, {})[hour.key] = self._some(0, 1)
        for at, hours in blocks.items():
            self._plan(at, f"clicks {min(hours)}", lambda h=hours: self._stream(h))

    def _some(self, part: int, count: int = 2) -> Rows:
        return [(100 * part + number, self.chance.randrange(1, 40)) for number in range(count)]

    def _drop(self, source: str, key: str, name: str, rows: Rows) -> None:
        self.world.drop(source, key, name, rows)
        self.oracle.drop(source, key, name, rows)

    def _stream(self, hours: Mapping[str, Rows]) -> None:
        self.world.stream(hours)
        for hour, rows in hours.items():
            self.oracle.drop("clicks", hour, "a", rows)

    def _orders(self, day: str, rows: Rows) -> None:
        self.world.api.rows[day] = self.oracle.orders[day] = rows

    def play(self, until: datetime) -> None:
        """Whatever is due by then happens."""
        while self.events and self.events[0].at <= until:
            event = self.events.pop(0)
            if not event.what.startswith(("sales", "clicks", "orders")):
                self.told.append(f"{self.world.now:%m-%d %H:%M} {event.what}")
            event.happens()

    def _day(self) -> str:
        """A day of the past whose first file came."""
        known = [day for day in self.days if self.oracle.files.get("sales", {}).get(day)]
        return self.chance.choice(known[:-1] or known)

    def _file(self, day: str) -> str:
        """A file of the day; what a notebook appended is none."""
        return self.chance.choice(
            sorted(name for name in self.oracle.files["sales"][day] if name.startswith("p"))
        )

    def _table(self) -> str:
        """One in the midst of whose runs something can happen."""
        return self.chance.choice([made.address for made in self.world.made if made.engine != "dbt"])

    # Troubles

    def trouble_replaced(self) -> None:
        day = self._day()
        self._drop("sales", day, self._file(day), self._some(1))

    def trouble_rewritten_as_it_was(self) -> None:
        day = self._day()
        name = self._file(day)
        self._drop("sales", day, name, self.oracle.files["sales"][day][name])

    def trouble_hour_replaced(self) -> None:
        key = self.chance.choice(sorted(self.oracle.files.get("clicks", {"": 0})))
        if key:
            self._stream({key: self._some(0, 1)})

    def trouble_update_during_a_run(self) -> None:
        day, table = self._day(), self.chance.choice(["silver/sales", "silver/running", "gold/daily"])
        self._drop("sales", day, "p0", self._some(0))
        again = self._some(0)

        def happens() -> None:
            self._drop("sales", day, "p0", again)
            self.world.by_hand("bronze/sales", day, day)

        self.world.in_midst_of(table, happens)

    def trouble_run_fails(self) -> None:
        table = self._table()
        self.world.fail_next(table)
        self.trouble_replaced()

    def trouble_run_fails_twice(self) -> None:
        table = self._table()
        self.world.fail_next(table)
        self.world.later.append(table)
        self.trouble_replaced()

    def trouble_driver_killed(self) -> None:
        day = self._day()
        self.world.kill(self._table(), day, timedelta(minutes=20))
        self.trouble_replaced()

    def trouble_cursors_lost(self) -> None:
        self.world.cursors.clear()

    def trouble_restarted(self) -> None:
        self.world.deploy()

    def trouble_by_hand(self) -> None:
        day = self._day()
        self.world.by_hand(self._table(), day, day)

    def trouble_from_a_second_home(self) -> None:
        day = self._day()
        with dg.DagsterInstance.ephemeral() as other:
            self._drop("sales", day, "p1", self._some(1))
            self.world.by_hand("bronze/sales", day, day, other)
            self.world.by_hand("silver/sales", day, day, other)

    def trouble_notebook_appends(self) -> None:
        from deltalake import write_deltalake

        day, rows = self._day(), self._some(7)
        if "bronze/sales" not in self.oracle.rows or day not in rows_of(self.world.lake, "bronze/sales"):
            return
        flat = pa.table([*map(list, zip(*rows, strict=True)), [day] * len(rows)], schema=SCHEMA)
        write_deltalake(self.world.lake.path("bronze", "sales"), flat, mode="append", schema_mode="merge")
        self.oracle.files["sales"][day][f"notebook {self.world.now}"] = rows
        self.oracle.changed.add(("sales", day))

    def trouble_removed(self) -> None:
        """A file that is loaded leaves the landing folder: its rows stay."""
        day = self._day()
        name = self._file(day)
        if {*self.oracle.files["sales"][day][name]} <= {
            *rows_of(self.world.lake, "bronze/sales").get(day, [])
        }:
            self.world.remove("sales", day, name)
        else:
            self._later("removed", self.trouble_removed)

    def trouble_restored(self) -> None:
        """A person loads a file, and then sets the table back to what it was before: the file is not loaded again."""
        day, name = self._day(), "p9"
        there = rows_of(self.world.lake, "bronze/sales").get(day, [])
        if sorted(self._rows_of(day)) != there or name in self.oracle.files["sales"][day]:
            return self._later("restored", self.trouble_restored)  # something waits to be loaded
        version = self.world.lake.version("bronze", "sales")
        self.world.drop("sales", day, name, self._some(9))
        assert self.world.by_hand("bronze/sales", day, day)
        assert len(rows_of(self.world.lake, "bronze/sales")[day]) > len(there)
        self.world.lake.restore("bronze", "sales", version)

    def _rows_of(self, day: str) -> list[tuple[int, int]]:
        return [row for rows in self.oracle.files["sales"].get(day, {}).values() for row in rows]

    def trouble_api_corrected(self) -> None:
        """The API says something else of a day for which it will be asked again."""
        calendar, now = self.oracle.calendar, self.world.now
        day = calendar.after(calendar.key_at(now), -self.chance.choice((1, LOOKBACK)))
        if day not in self.world.api.rows or not pulls(calendar, calendar.window_at(now).start, now):
            return self._later("api corrected", self.trouble_api_corrected)
        self._orders(day, self._some(0))

    def trouble_daemon_down(self) -> None:
        self.world.down_until = self.world.now + timedelta(hours=self.chance.uniform(1, 9))

    # Once

    def _added(self) -> None:
        self.world.late = True
        self.world.deploy()

    def _changed(self) -> None:
        """The code of a table changes, and a person has all of its days built again."""
        self.world.code = "2"
        self.world.deploy()
        self.world.again_by_hand("gold/changed")
        self.oracle.again("gold/changed")

    def _lost(self) -> None:
        self.world.lose_history(dg.DagsterInstance.ephemeral())

    def _maintained(self) -> None:
        """Compaction, a checkpoint, and what nobody reads any more is gone at once."""
        lake = self.world.lake
        maintain(lake, min_files=2)
        for stage, name in lake.tables():
            table = lake.table(stage, name)
            assert table is not None
            table.vacuum(0, dry_run=False, enforce_retention_duration=False)
