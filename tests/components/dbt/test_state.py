"""What dbt's models were built from: after a run they are up to date, until an hour changes."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.components.following.outlook import outlooks
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from asgard_assets.windows import Calendar
from tests.components.dbt.test_calendars import MODELS, SOURCE, put_hours
from tests.components.dbt.test_component import definitions
from tests.fakes.gold import copy_project

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.mark.servers
def test_after_a_run_a_model_is_up_to_date_until_an_hour_changes(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-10-05")
    monkeypatch.setenv("ASGARD_PARTITION_END", "2026-10-12")
    files = {f"models/gold/{name}.sql": MODELS[name] for name in ("hours", "days")}
    loaded = definitions(copy_project(tmp_path / "project", {**files, "models/gold/beats.yml": SOURCE}))
    repository = loaded.get_repository_def()
    keys = {name: dg.AssetKey(["gold", name]) for name in ("hours", "days")}
    assets = [a for a in loaded.assets or [] if isinstance(a, dg.AssetsDefinition)]
    hours = Calendar(every="hour").between("2026-10-05T00", "2026-10-11T23")

    with dg.DagsterInstance.ephemeral() as instance:

        def build(first: str, last: str, *names: str) -> None:
            chosen, tags = [keys[name] for name in names], {START: first, END: last}
            resources = {"lake": LakeResource(root=lake.root)}
            dg.materialize(assets, selection=chosen, instance=instance, resources=resources, tags=tags)

        def stale() -> dict[str, list[str]]:
            found = outlooks(lake, repository, instance, list(keys.values()), {})
            return {each.state.asset: [*each.state.missing, *each.state.stale] for each in found}

        put_hours(lake, hours)
        build(hours[0], hours[-1], "hours")
        assert stale()["gold/days"] == Calendar().between("2026-10-05", "2026-10-11")
        build("2026-10-05", "2026-10-11", "days")
        assert stale() == {"gold/hours": [], "gold/days": []}
        put_hours(lake, ["2026-10-07T03"])
        assert stale()["gold/hours"] == [], "the same rows again"
        put_hours(lake, ["2026-10-07T03"], 5)
        assert stale() == {"gold/hours": ["2026-10-07T03"], "gold/days": []}
