"""The local Dagster home: created once, shared by everything that runs Dagster."""

from __future__ import annotations

import stat
from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.lake import Lake
from asgard_assets.resources.home import SHIPPED, prepare_home
from asgard_assets.settings import Settings


def test_preparing_the_home_twice_changes_nothing(settings: Settings) -> None:
    home = prepare_home(settings)
    before = (home / "dagster.yaml").stat().st_mtime_ns
    assert prepare_home(settings) == home
    assert (home / "dagster.yaml").stat().st_mtime_ns == before
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]


def test_an_edited_or_outdated_file_is_replaced_by_the_shipped_one(settings: Settings) -> None:
    home = prepare_home(settings)
    (home / "dagster.yaml").write_text("telemetry: {enabled: true}")
    prepare_home(settings)
    assert (home / "dagster.yaml").read_bytes() == SHIPPED.read_bytes()


def test_dagster_opens_the_home_and_retries_lost_hosts_but_not_failed_steps(settings: Settings) -> None:
    home = prepare_home(settings)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.run_monitoring_enabled
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 1
        assert type(instance.run_launcher).__name__ == "DefaultRunLauncher"
        assert str(home) in str(instance.storage_directory())


@pytest.mark.parametrize(
    ("before", "after"), [(None, 0o700), (0o755, 0o700), (0o700, 0o700), (0o775, 0o775), (0o2770, 0o2770)]
)
def test_the_home_is_its_owner_s_alone_unless_a_group_shares_it(
    tmp_path: Path, monkeypatch, before, after
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("ASGARD_HOME", str(home))
    if before is not None:
        home.mkdir()
        home.chmod(before)
    prepare_home(Settings())
    assert stat.S_IMODE(home.stat().st_mode) == after


def test_a_lake_in_it_closes_it_too(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir(mode=0o755)
    Lake.from_settings()
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
