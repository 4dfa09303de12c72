"""What older code built is shown; where the table says so it is asked for, however old, and `asgard plan` tells the cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.files import file_asset
from asgard_assets.components.following.asking import Followed, plan
from asgard_assets.components.following.outlook import Outlook, outlooks, told
from asgard_assets.components.following.reads import ON_CODE_CHANGE, REBUILD, code_of
from asgard_assets.components.following.staleness import states
from asgard_assets.components.tables import asset_spec
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.operations.plan import make_plan
from asgard_assets.operations.sources import Catalog
from asgard_assets.operations.targets import Target
from asgard_assets.operations.todo import Finder
from asgard_assets.quality.tables import Column, TableSpec
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings
from tests.components.following.test_staleness import BRONZE, DAYS, LOOKUP, SILVER, World


def coded(world: World, version: str, **metadata: str) -> None:
    old = world.specs[SILVER]
    condition = on_upstream_change()
    world.specs[SILVER] = old.replace_attributes(
        code_version=version, automation_condition=condition, metadata={**old.metadata, **metadata}
    )


@pytest.fixture
def world(lake: Lake) -> World:
    world = World(lake)
    world.publish(BRONZE, *DAYS)
    world.publish(LOOKUP, *DAYS)
    coded(world, "1")
    world.publish(SILVER, *DAYS)
    return world


def asked(world: World, memory: Any = None, **known: Any) -> list[str]:
    followed = Followed(world.state(SILVER), (), **known)
    return [key for ask in plan([followed], memory or {}, {}, 0.0).asks for key in ask.keys]


def test_by_default_it_is_shown_and_not_asked_for(world: World):
    coded(world, "2")
    state = world.state(SILVER)
    assert (state.older_code, state.recode, dict(state.stale)) == (tuple(DAYS), (), {})
    assert asked(world) == []


def test_where_the_table_says_so_all_of_it_is_asked_for_and_says_why(world: World):
    coded(world, "2", **{REBUILD: ON_CODE_CHANGE})
    assert sorted(asked(world, corrections=1)) == DAYS, "corrections go back one day, new code all the way"
    assert f"stale       {DAYS[0]}...{DAYS[-1]}: the table's code changed" in list(
        told(Outlook(world.state(SILVER)))
    )
    world.publish(SILVER, *DAYS[:2])
    assert asked(world) == DAYS[2:]
    world.publish(SILVER, *DAYS[2:])
    assert asked(world) == []


def test_what_failed_with_the_old_code_is_tried_anew_with_the_new(world: World):
    coded(world, "2", **{REBUILD: ON_CODE_CHANGE})
    followed = Followed(world.state(SILVER), ())
    memory = plan([followed], {}, {}, 0.0).memory
    tired = {"silver/x": {key: replace(found, tries=99) for key, found in memory["silver/x"].items()}}
    assert plan([followed], tired, {}, 10**6).asks == ()
    coded(world, "3", **{REBUILD: ON_CODE_CHANGE})
    assert sorted(asked(world, tired)) == DAYS


def test_the_setting_itself_is_no_code(world: World):
    def function() -> None: ...

    spec = TableSpec(
        stage="silver", name="x", description="", key=("id",), columns={"id": Column(type="bigint")}
    )
    again = spec.model_copy(update={"rebuild": ON_CODE_CHANGE})
    assert code_of(function, spec) == code_of(function, again)
    assert asset_spec(again).metadata[REBUILD] == ON_CODE_CHANGE and REBUILD not in asset_spec(spec).metadata


@pytest.mark.parametrize(
    ("how", "words"), [({}, "stay as they are"), ({REBUILD: ON_CODE_CHANGE}, "built again by themselves")]
)
def test_a_plan_says_what_a_rebuild_takes(world: World, how: dict[str, str], words: str):
    coded(world, "2", **how)

    @dg.multi_asset(specs=[world.specs[SILVER]])
    def made() -> None: ...

    sources = [world.specs[key] for key in (BRONZE, LOOKUP)]
    catalog = Catalog(dg.Definitions(assets=[*sources, made]), {}, {}, {})
    with dg.DagsterInstance.ephemeral() as instance:
        finder = Finder(catalog, world.lake, Landing.from_settings(), instance)
        [found] = make_plan(finder, Target("silver/x", ("silver/x",), ())).assets
    assert found.older_code == tuple(DAYS)
    assert any(words in note and f"{len(DAYS)} partitions" in note for note in found.notes)


def test_the_state_of_a_table_without_code_is_as_before(world: World):
    [found] = states(world.lake, world.specs, [BRONZE])
    assert found.older_code == ()


def loaded(instance: dg.DagsterInstance, source: FileSource, *days: str) -> dg.Definitions:
    defs = dg.Definitions(assets=[file_asset(source)], resources=resources())
    job = defs.get_repository_def().get_implicit_global_asset_job_def()
    for day in days:
        assert job.execute_in_process(instance=instance, tags={"dagster/partition": day}).success
    return defs


def test_each_load_of_files_records_the_version_of_its_yaml(lake: Lake):
    for day in DAYS[:3]:
        folder = Path(Settings().landing_root) / "orders" / f"ds={day}"
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text("id\n1\n")
    said = {"name": "orders", "path": "orders", "ds": {"type": "folder"}, "description": "Orders."}
    key = dg.AssetKey(["bronze", "orders"])
    with dg.DagsterInstance.ephemeral() as instance:
        loaded(instance, FileSource.model_validate(said), *DAYS[:2])
        other = {**said, "schema_mode": "rescue"}
        repository = loaded(instance, FileSource.model_validate(other), DAYS[2]).get_repository_def()
        [found] = outlooks(lake, repository, instance, [key])
        assert found.state.older_code == tuple(DAYS[:2])
        assert list(told(found)) == [f"older code  {DAYS[0]}...{DAYS[1]}"]
        # Words of the catalog are no code.
        described = FileSource.model_validate({**other, "description": "All orders.", "owners": ["team:x"]})
        repository = dg.Definitions(
            assets=[file_asset(described)], resources=resources()
        ).get_repository_def()
        assert outlooks(lake, repository, instance, [key])[0].state.older_code == tuple(DAYS[:2])
