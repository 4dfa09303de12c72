"""After a full refresh, what older generations brought leaves the table once the sender has removed their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.load import Loaded, commit, load
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake

DAYS = ["2026-10-05", "2026-10-06", "2026-10-07"]
KEYED = {"key": ["id"], "cursor": "changed"}


class World:
    """A landing folder as Airbyte's S3 destination fills it, and the Bronze table of it."""

    def __init__(self, folder: Path, **source: Any) -> None:
        self.folder = folder / "landing" / "users"
        self.folder.mkdir(parents=True)
        self.landing, self.lake = Landing(str(folder / "landing")), Lake(str(folder / "lake"))
        self.source = FileSource.model_validate(
            {"name": "users", "path": "users", "ds": {"type": "filename"}, "description": "d"}
            | {"generation": "_airbyte_generation_id"}
            | source
        )
        self.epoch = 1_790_000_000_000

    def land(self, day: str, generation: int, *records: tuple[int, int], flat: bool = True) -> Path:
        """A file of one sync: id and cursor of each record."""
        self.epoch += 1000
        path = self.folder / f"{day.replace('-', '_')}_{self.epoch}_0.jsonl"
        meta = {"_airbyte_extracted_at": self.epoch, "_airbyte_generation_id": generation}
        path.write_text("".join(json.dumps({"id": i, "changed": at} | meta) + "\n" for i, at in records))
        return path

    def load(self, *days: str) -> Loaded:
        loaded = load(
            lambda: pytest.fail("a few small files need no Spark"), self.lake, self.landing, self.source, days
        )
        assert not loaded.failed
        commit(self.lake, loaded)
        return loaded

    @property
    def rows(self) -> list[tuple[str, ...]]:
        with self.lake.connect() as connection:
            return connection.execute("select id, changed, ds from bronze.users order by all").fetchall()


@pytest.fixture(params=["keyed", "every record"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, merge=KEYED if request.param == "keyed" else None)


def test_refresh_and_remove_leaves_the_newest_generation(world: World) -> None:
    older = [world.land(DAYS[0], 0, (1, 10), (2, 11)), world.land(DAYS[1], 0, (3, 12))]
    world.load(*DAYS[:2])
    world.land(DAYS[2], 1, (1, 10), (3, 12))
    for path in older:
        path.unlink()
    loaded = world.load(DAYS[2])
    assert world.rows == [("1", "10", DAYS[2]), ("3", "12", DAYS[2])]
    assert len(loaded.outdated) == 2


def test_refresh_and_retain_keeps_what_the_sender_keeps(world: World) -> None:
    world.land(DAYS[0], 0, (1, 10), (2, 11))
    world.load(DAYS[0])
    world.land(DAYS[1], 1, (2, 11), (3, 12))
    loaded = world.load(DAYS[1])
    both = [("2", "11", DAYS[0])] if world.source.merge is None else []
    assert world.rows == sorted([("1", "10", DAYS[0]), *both, ("2", "11", DAYS[1]), ("3", "12", DAYS[1])])
    assert not loaded.outdated


def test_a_refresh_on_the_day_of_the_older_files(world: World) -> None:
    older = world.land(DAYS[0], 4, (1, 10), (2, 11))
    world.load(DAYS[0])
    older.unlink()
    world.land(DAYS[0], 5, (2, 11))
    world.load(DAYS[0])
    assert world.rows == [("2", "11", DAYS[0])]


def test_an_older_generation_never_wins_by_its_cursor(world: World) -> None:
    older = world.land(DAYS[0], 0, (1, 99), (2, 99))
    world.load(DAYS[0])
    older.unlink()
    world.land(DAYS[1], 1, (1, 10))
    world.load(DAYS[1])
    assert world.rows == [("1", "10", DAYS[1])]


def test_files_that_leave_without_a_newer_generation_keep_their_rows(world: World) -> None:
    older = world.land(DAYS[0], 3, (1, 10))
    world.load(DAYS[0])
    older.unlink()
    world.land(DAYS[1], 3, (2, 11))
    world.load(DAYS[1])
    assert world.rows == [("1", "10", DAYS[0]), ("2", "11", DAYS[1])]


def test_generations_are_numbers_and_not_text(world: World) -> None:
    older = world.land(DAYS[0], 9, (1, 10))
    world.load(DAYS[0])
    older.unlink()
    world.land(DAYS[1], 10, (2, 11))
    world.load(DAYS[1])
    assert world.rows == [("2", "11", DAYS[1])]


def test_after_a_refresh_the_days_go_on_adding_up(world: World) -> None:
    older = world.land(DAYS[0], 0, (1, 10))
    world.load(DAYS[0])
    older.unlink()
    world.land(DAYS[1], 1, (2, 11))
    world.load(DAYS[1])
    world.land(DAYS[2], 1, (3, 12))
    world.load(DAYS[2])
    assert world.rows == [("2", "11", DAYS[1]), ("3", "12", DAYS[2])]
    assert world.load(DAYS[2]).outdated == frozenset()


def test_without_the_column_nothing_leaves(tmp_path: Path) -> None:
    world = World(tmp_path, generation=None)
    older = world.land(DAYS[0], 0, (1, 10))
    world.load(DAYS[0])
    older.unlink()
    world.land(DAYS[1], 1, (2, 11))
    world.load(DAYS[1])
    assert len(world.rows) == 2


@pytest.mark.parametrize(
    "more",
    [{"write": {"type": "upsert", "key": ["id"]}}, {"clean": {"action": "delete"}}],
    ids=["upsert", "clean"],
)
def test_what_removes_files_or_rows_itself_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="goes by the files that the sender removed"):
        World(tmp_path, **more)
