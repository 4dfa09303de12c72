"""The committed snapshot of a workspace: in step with a server when asked, loud where it is missing or wrong."""

from __future__ import annotations

from typing import Any

import pytest

from asgard_assets.components.airbyte import refresh_snapshot, snapshot_folders
from asgard_assets.components.airbyte.snapshot import SNAPSHOT, read
from asgard_assets.errors import ConfigError, SourceError
from deployments.local.airbyte.workspace import DEFAULT
from deployments.local.airbyte.workspace import Workspace as Offered
from tests.checkout import ROOT
from tests.fakes.airbyte import load, serving, write_instance
from tests.fakes.airbyte_instance import NOBODY, reason, specs_of

INSTANCE = ROOT / "asgard_assets" / "defs" / "bronze" / "airbyte"


def test_the_committed_snapshot_is_of_the_workspace_that_the_development_server_offers():
    offered = Offered.read(DEFAULT)
    state = read(INSTANCE / SNAPSHOT, offered.id).data
    assert list(state.connections_by_id) == list(offered.by_id())
    (connection,) = offered.connections
    (known,) = state.connections_by_id.values()
    assert {s.name for s in known.streams.values() if s.selected} == {s.name for s in connection.streams}
    assert INSTANCE in snapshot_folders()


def test_a_missing_snapshot_is_a_loud_error_that_says_what_to_do(tmp_path):
    folder = write_instance(tmp_path / "airbyte", "w")
    with pytest.raises(Exception) as error:  # noqa: B017, PT011  Dagster wraps it in a class of its own
        load(folder)
    assert "snapshot.json is missing" in str(reason(error.value))
    assert "asgard airbyte refresh" in str(reason(error.value))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"workspace_id": "w", "data": {"__class__": "Novel"}}'])
def test_a_broken_snapshot_is_a_loud_error(tmp_path, text):
    (tmp_path / SNAPSHOT).write_text(text)
    with pytest.raises(ConfigError, match="is no snapshot"):
        read(tmp_path / SNAPSHOT, "w")


def test_a_snapshot_of_another_workspace_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is of workspace .* but defs.yaml names w"):
        read(INSTANCE / SNAPSHOT, "w")


@pytest.mark.slow
def test_every_page_of_connections_becomes_assets_and_the_snapshot_is_always_the_same(fake, monkeypatch):
    names = tuple(f"shop{number}" for number in range(120))
    syncs = fake.open(names=names, prefixes=True)
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        shown = refresh_snapshot(folder, write=False)
        assert "+++ b/" in shown and not (folder / SNAPSHOT).exists()
        refresh_snapshot(folder)
        before = (folder / SNAPSHOT).read_bytes()
        assert refresh_snapshot(folder) == ""
    assert (folder / SNAPSHOT).read_bytes() == before
    monkeypatch.setenv("ASGARD_AIRBYTE_URL", NOBODY)
    assert set(specs_of(load(folder))) == {
        f"{stage}/{name}_users" for name in names for stage in ("airbyte", "bronze")
    }


def test_a_new_stream_appears_after_a_refresh_and_the_difference_says_so(fake, monkeypatch):
    before, after = fake.open(), fake.open(streams=("users", "orders"))
    folder = write_instance(fake.folder / "airbyte", before.registry.id)
    for syncs in (before, after):
        with serving(syncs) as url:
            monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
            difference = refresh_snapshot(folder)
    added = [line.split() for line in difference.splitlines() if line.startswith("+ ")]
    assert ["+", '"selected":', "true"] in added and ["+", '"orders":', "{"] in added
    assert set(specs_of(load(folder))) == {"airbyte/users", "airbyte/orders", "bronze/users", "bronze/orders"}


def test_refreshing_with_no_server_says_which_setting_to_look_at(tmp_path):
    folder = write_instance(tmp_path / "airbyte", "w")
    with pytest.raises(SourceError, match="ASGARD_AIRBYTE_URL"):
        refresh_snapshot(folder)
    assert not (folder / SNAPSHOT).exists()


def test_the_command_shows_the_difference_and_refuses_a_stale_snapshot_in_ci(fake, monkeypatch):
    from typer.testing import CliRunner

    from asgard_assets.cli import app

    def asgard(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["airbyte", "refresh", *arguments])

    syncs = fake.open(streams=("users", "orders"))
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    monkeypatch.setattr("asgard_assets.components.airbyte.component.snapshot_folders", lambda: [folder])
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        stale = asgard("--check")
        assert stale.exit_code == 1 and '"orders": {' in stale.stdout
        assert not (folder / SNAPSHOT).exists()
        assert asgard().exit_code == 0 and (folder / SNAPSHOT).exists()
        same = asgard("--check")
        assert same.exit_code == 0 and "says what Airbyte says" in same.stdout
