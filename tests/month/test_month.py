"""A month in a box: real sensors and real engines on a simulated clock, beside a plain model of what they have to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from pathlib import Path

import dagster as dg
import pytest
import time_machine

from asgard_assets.components.following import sensor
from asgard_assets.components.following.sensor import followed
from asgard_assets.ingest.files.plan import listing
from asgard_assets.lake import Lake
from asgard_assets.lake.likeness import Likeness
from asgard_assets.settings import Settings
from tests.month.engines import OrdersApi, orders_api
from tests.month.oracle import Oracle
from tests.month.story import Story
from tests.month.tables import rows_of
from tests.month.world import World

ZONES = ("Europe/Berlin", "UTC", "America/New_York")
SHORT, LONG = timedelta(minutes=10), timedelta(minutes=30)


class Box:
    def __init__(
        self,
        home: Path,
        traveller,
        spark,
        api: OrdersApi,
        seed: int,
        days: int,
        troubles: int,
        all_engines: bool,
    ) -> None:
        self.world = World(traveller, home, dg.DagsterInstance.ephemeral(), spark, api, all_engines)
        hours = Settings().calendar("hour")
        self.oracle = Oracle(self.world.calendar, hours, lambda: self.world.made, all_engines)
        self.story = Story(self.world, self.oracle, seed, days, troubles)

    def live(self) -> None:
        """From the first event to the last, and on until nothing is asked for."""
        idle = 0
        while self.story.events:
            self.story.play(self.world.now)
            busy = self.world.step(SHORT if idle < 3 else LONG)
            idle = 0 if busy else idle + 1
            self.oracle.step(self.world.now)
        self.world.settle()
        self.oracle.step(self.world.now)

    def check(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        told = "\n".join([*self.story.told, *self.world.failures])
        print(told)
        print(
            {k: (self.world.builds[k], n, self.world.runs[k]) for k, n in sorted(self.oracle.builds.items())}
        )
        assert not self.world.failures, told
        for each in followed(
            self.world.lake, self.world.repository, self.world.instance, self.world.now.timestamp()
        ):
            assert not each.state.missing and not each.state.stale, f"{each.state}\n{told}"
        names = ["bronze/sales", "bronze/clicks", *(made.address for made in self.world.made)]
        found = {name: self.told(name, rows_of(self.world.lake, name)) for name in names}
        for name in names:
            known = {key: list(rows) for key, rows in self.oracle.rows.get(name, {}).items()}
            expected = self.told(name, known)
            assert found[name] == expected, f"{name}\n{told}"
        starts, needed, done = (
            self.world.runs["silver/orders"],
            sum(self.oracle.builds.values()),
            sum(self.world.builds.values()),
        )
        self.rebuild(fresh, monkeypatch)
        for name in names:
            assert self.told(name, rows_of(self.world.lake, name)) == found[name], (
                f"{name} is not what a rebuild makes\n{told}"
            )
        assert done <= 1.3 * needed, (
            f"{done} builds, {needed} needed: {self.world.builds} {self.oracle.builds}"
        )
        assert starts <= 2 * self.oracle.starts, f"{starts} Spark starts, {self.oracle.starts} needed"

    def told(self, name: str, rows: dict[str, list[tuple[int, int]]]) -> dict[str, list[tuple[int, int]]]:
        """Without what the story ends within: a day of another zone, of which some hours never come."""
        end = self.oracle.calendar.window(self.story.days[-1]).end
        made = next((each for each in self.world.made if each.address == name and each.zone), None)
        if made is None:
            return rows
        days = made.calendar(self.oracle.calendar)
        return {key: found for key, found in rows.items() if days.window(key).end <= end}

    def rebuild(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Everything that is made, made anew from Bronze, each table in one run."""
        shutil.copytree(Path(self.world.lake.root) / "bronze", fresh / "bronze")
        days = {made.address: sorted(rows_of(self.world.lake, made.address)) for made in self.world.made}
        monkeypatch.setenv("ASGARD_LAKE", str(fresh))
        self.world.lake = Lake.from_settings()
        self.world.deploy()
        self.world.faults.clear()
        with dg.DagsterInstance.ephemeral() as instance:
            for table, keys in days.items():
                assert self.world.by_hand(table, keys[0], keys[-1], instance)


@pytest.fixture
def box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Box]]:
    def made(seed: int, days: int, troubles: int, all_engines: bool = True) -> Box:
        spark = request.getfixturevalue("spark") if all_engines else None
        said = {
            "HOME": str(tmp_path),
            "PARTITION_START": "2026-10-22",
            "PARTITION_END": "",
            "TIME_ZONE": ZONES[seed % 3],
        }
        for name, value in said.items():
            monkeypatch.setenv(f"ASGARD_{name}", value)
        begin = Settings().calendar().window("2026-10-22").start.astimezone(UTC)
        travel = time_machine.travel(begin, tick=False)
        traveller = travel.start()
        opened.append(travel)
        return Box(tmp_path, traveller, spark, api, seed, days, troubles, all_engines)

    opened: list[time_machine.travel] = []
    with orders_api() as api:
        yield made
    for each in opened:
        each.stop()


def test_five_days_with_each_kind_of_trouble(box, tmp_path, monkeypatch):
    month = box(0, 5, 1)
    month.live()
    month.check(tmp_path / "again", monkeypatch)


def forgets_replaced_files(patch: pytest.MonkeyPatch) -> None:
    take = listing._Found.take

    def forgetful(self, source, path, listed, known, failures) -> bool:
        return known is None and take(self, source, path, listed, known, failures)

    patch.setattr(listing._Found, "take", forgetful)


def loses_late_files(patch: pytest.MonkeyPatch) -> None:
    take = listing._Found.take

    def impatient(self, source, path, listed, known, failures) -> bool:
        day = listed and listing.day_of(source, listed)
        if day and listed.modified > Settings().calendar().window(day).end + timedelta(hours=4):
            return False
        return take(self, source, path, listed, known, failures)

    patch.setattr(listing._Found, "take", impatient)


def asks_for_everything_twice(patch: pytest.MonkeyPatch) -> None:
    once = sensor.requests
    patch.setattr(sensor, "requests", lambda asks, graph: once(asks, graph) * 2)


def takes_other_rows_for_the_same(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Likeness, "_alike", lambda *_: True)


def the_model_forgets_replaced_hours(patch: pytest.MonkeyPatch) -> None:
    """The oracle itself is wrong: what is right then counts as wrong, too."""
    drop = Oracle.drop

    def forgetful(self, source, key, name, rows) -> None:
        if source != "clicks" or key not in self.files.get(source, {}):
            drop(self, source, key, name, rows)

    patch.setattr(Oracle, "drop", forgetful)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (forgets_replaced_files, "bronze/sales"),
        (loses_late_files, "bronze/sales"),
        (asks_for_everything_twice, "builds, .* needed"),
        (takes_other_rows_for_the_same, "(silver|gold)/"),
        (the_model_forgets_replaced_hours, "bronze/clicks"),
        (None, ""),
    ],
)
def test_a_planted_fault_is_found(
    box, tmp_path, monkeypatch, fault: Callable[[pytest.MonkeyPatch], None] | None, says: str
):
    """Without one the same days pass."""
    month = box(0, 3, 1, all_engines=False)
    if fault is None:
        month.live()
        return month.check(tmp_path / "again", monkeypatch)
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=says):
        month.live()
        month.check(tmp_path / "again", monkeypatch)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(10))
def test_a_month(box, tmp_path, monkeypatch, seed: int):
    month = box(seed, 30, 4)
    month.live()
    month.check(tmp_path / "again", monkeypatch)
