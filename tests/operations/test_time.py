"""What `asgard plan` and `asgard state` say of an open window, and of slices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from asgard_assets.components.partitions import windows
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.operations.conftest import Project


@pytest.fixture
def sliced(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(settings, monkeypatch, partitions={"region": ["eu", "us"]})
    for folder in ("ds=2026-10-30/region=eu", "ds=2026-10-30/region=us", "ds=2026-10-31/region=eu"):
        path = project.landing / "orders" / folder / "a.csv"
        path.parent.mkdir(parents=True)
        path.write_text("id\n1\n")
    return project


def test_a_plan_names_the_slices_that_have_files(sliced: Project):
    plan = sliced.asgard_json("plan", "bronze/orders", "--output", "json")
    assert plan["assets"][0]["partitions"] == ["2026-10-30|eu", "2026-10-30|us", "2026-10-31|eu"]
    assert plan["assets"][0]["files"] == 3
    assert plan["downstream"]["silver/orders"] == ["2026-10-30", "2026-10-31"]


def test_a_plan_of_a_day_has_all_slices_of_that_day(sliced: Project):
    plan = sliced.asgard_json("plan", "bronze/orders", "--partitions", "2026-10-31", "--output", "json")
    assert plan["assets"][0]["partitions"] == ["2026-10-31|eu"]
    said = sliced.asgard("plan", "bronze/orders", "--partitions", "2026-10-30")
    assert "2 partitions" in said


def test_a_span_within_a_week_says_which_week_it_is(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    project = Project(settings, monkeypatch)

    @dg.asset(key=["gold", "weekly"], partitions_def=windows("week"))
    def weekly() -> None: ...

    project.definitions = dg.Definitions.merge(project.definitions, dg.Definitions(assets=[weekly]))
    for command in ("run", "backfill", "plan"):
        said = project.asgard(command, "gold/weekly", "--partitions", "2026-10-20...2026-10-24")
        assert "no week begins in 2026-10-20...2026-10-24; the week that it lies in is 2026-10-19" in said
    assert "no week" not in project.asgard(
        "run", "gold/weekly", "--partitions", "2026-10-19...2026-10-24", "--dry-run"
    )


def test_an_open_window_counts_as_there_once_it_is_built_and_never_as_missing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, lake: Lake
):
    today = datetime.now(UTC).date()
    days = [(today - timedelta(number)).isoformat() for number in (2, 1, 0)]
    monkeypatch.setenv("ASGARD_PARTITION_START", days[0])
    monkeypatch.setenv("ASGARD_PARTITION_END", "")
    project = Project(settings, monkeypatch)

    def counted() -> tuple[int, int, int]:
        told = project.asgard_json("state", 'key:"silver/orders"', "--output", "json")[0]
        return told["partitions"], told["published"], told["missing"]

    assert counted() == (3, 0, 2)
    with dg.DagsterInstance.get() as instance:
        for day, found in ((days[0], (3, 1, 1)), (days[2], (3, 2, 1)), (days[1], (3, 3, 0))):
            instance.report_runless_asset_event(dg.AssetMaterialization(["silver", "orders"], partition=day))
            assert counted() == found
