"""Airbyte streams as assets, from the committed snapshot alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from traceback import format_exception

import pytest
import yaml
from dagster_shared.record import copy

from asgard_assets.components.airbyte import AirbyteSyncs, refresh_snapshot
from asgard_assets.components.airbyte.snapshot import SNAPSHOT, read
from asgard_assets.errors import ConfigError
from asgard_assets.resources.airbyte import Workspace
from tests.checkout import ROOT
from tests.fakes.airbyte import Fake, load, serving, write_instance
from tests.fakes.airbyte_instance import NOBODY, materialize, reason, specs_of

INSTANCE = ROOT / "asgard_assets" / "defs" / "bronze" / "airbyte"


def test_the_committed_instance_loads_with_no_server(tmp_path):
    found = specs_of(load(shutil.copytree(INSTANCE, tmp_path / "airbyte")))
    assert set(found) == {
        f"{s}/{n}" for s in ("airbyte", "bronze") for n in ("users", "products", "purchases")
    }
    for spec in (spec for key, spec in found.items() if key.startswith("airbyte/")):
        assert spec.group_name == "airbyte" and spec.owners and spec.kinds == {"airbyte"}
        assert spec.tags["stage"] == "airbyte" and spec.partitions_def is None
        assert spec.description and "Airbyte connection demo-faker" in spec.description
        assert spec.metadata["dagster/column_schema"].columns


def test_an_unknown_key_fails_the_load_with_file_and_line(tmp_path):
    folder = write_instance(tmp_path / "airbyte", "w", ownres=["team:x"])
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(folder)
    assert "ownres" in str(error.value.__cause__) and "defs.yaml:" in str(error.value.__cause__)


def test_two_connections_with_one_stream_name_are_refused(fake, monkeypatch):
    syncs = fake.open(names=("a", "b"))
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(folder)
    assert "connections a and b both have airbyte/users" in str(reason(error.value))


def test_each_connection_has_a_pool_of_its_own(served):
    _, folder = served
    definition = next(iter(load(folder).assets or ()))
    assert definition.op.pool == "airbyte/fake"  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_secrets_are_references(monkeypatch):
    workspace = Workspace(workspace_id="w", username="env:AIRBYTE_USER", password="env:AIRBYTE_PASSWORD")
    monkeypatch.setenv("AIRBYTE_USER", "me")
    with pytest.raises(ConfigError, match="AIRBYTE_PASSWORD is not set"):
        workspace.get_client()
    monkeypatch.setenv("AIRBYTE_PASSWORD", "hush")
    assert workspace.get_client().password == "hush"
    with pytest.raises(ConfigError, match="no reference"):
        Workspace(workspace_id="w", username="me", password="env:AIRBYTE_PASSWORD").get_client()


def test_the_component_loads_no_slow_library():
    script = (
        "import sys, asgard_assets.components.airbyte;"
        "print([m for m in ('pandas', 'pyspark', 'deltalake', 'duckdb', 'feast', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_component_has_a_schema_for_editors():
    schema = AirbyteSyncs.model().model_json_schema()
    assert {"workspace", "owners", "tags", "descriptions"} <= set(schema["properties"])
    assert json.dumps(schema)


@pytest.fixture
def shops(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance over connections shop0 … shop3 with tags; shop3 is paused."""
    syncs = fake.open(names=("shop0", "shop1", "shop2", "shop3"), prefixes=True)
    for number, link in enumerate(syncs.registry.connections.values()):
        changed = replace(
            link,
            tags=("even",) if number % 2 == 0 else ("odd",),
            status="inactive" if number == 3 else "active",
        )
        syncs.registry.connections[link.id] = changed
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
    monkeypatch.setenv("ASGARD_AIRBYTE_URL", NOBODY)
    return folder


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ({"by_name": ["shop1", "shop2"]}, "12"),
        ({"by_tag": ["even"]}, "02"),
        ({"by_pattern": "shop[0-2]"}, "012"),
        ({"by_pattern": ["*0", "*3"]}, "03"),
    ],
)
def test_connections_are_chosen_by_name_tag_or_pattern(shops, selector, chosen):
    workspace = yaml.safe_load((shops / "defs.yaml").read_text())["attributes"]["workspace"]["workspace_id"]
    write_instance(shops, workspace, connection_selector=selector)
    found = specs_of(load(shops))
    assert set(found) == {f"{stage}/shop{n}_users" for n in chosen for stage in ("airbyte", "bronze")}


def test_a_selector_that_names_no_connection_is_a_loud_error(shops):
    workspace = yaml.safe_load((shops / "defs.yaml").read_text())["attributes"]["workspace"]["workspace_id"]
    write_instance(shops, workspace, connection_selector={"by_name": ["shop1", "shop9"]})
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(shops)
    assert "names shop9, which the workspace did not have" in str(reason(error.value))


def test_a_paused_connection_is_visible_and_says_so(shops):
    found = specs_of(load(shops))
    paused, active = found["airbyte/shop3_users"], found["airbyte/shop0_users"]
    assert paused.metadata["airbyte/status"] == paused.tags["airbyte/status"] == "inactive"
    assert "so it is skipped" in str(paused.description)
    assert active.metadata["airbyte/status"] == "active" and "airbyte/status" not in active.tags


def test_a_paused_connection_is_skipped_and_what_follows_it_too(fake, monkeypatch):
    syncs = fake.open(status="inactive")
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        result = materialize(folder, "users")
    assert result.success and result.get_asset_materialization_events() == []
    assert syncs.store.jobs() == []


def test_upstreams_are_named_in_yaml_and_a_wrong_stream_is_a_loud_error(served):
    syncs, folder = served
    write_instance(folder, syncs.registry.id, deps={"users": ["crm/people"], "*": ["platform/vpn"]})
    found = specs_of(load(folder))
    upstreams = {key: {d.asset_key.to_user_string() for d in spec.deps} for key, spec in found.items()}
    assert upstreams["airbyte/users"] == {"crm/people", "platform/vpn"}
    assert upstreams["airbyte/orders"] == {"platform/vpn"}
    assert upstreams["bronze/users"] == {"airbyte/users"}
    write_instance(folder, syncs.registry.id, deps={"userz": ["crm/people"]})
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(folder)
    assert "deps names userz" in str(reason(error.value))


def test_a_table_that_a_defs_yaml_declares_is_left_to_it(served):
    _, folder = served
    own = folder / "own"
    own.mkdir()
    attributes = {"name": "people", "path": "airbyte/users", "ds": {"type": "filename"}, "description": "d"}
    content = {"type": "asgard_assets.components.files.FileIngest", "attributes": attributes}
    (own / "defs.yaml").write_text(yaml.safe_dump(content))
    keys = {key.to_user_string() for one in load(folder).assets or () for key in one.keys}  # type: ignore[union-attr]
    assert keys == {"airbyte/users", "airbyte/orders", "bronze/orders"}


def test_keys_need_nothing_of_the_destination(served):
    """At run time dagster-airbyte knows no destination; the same key must come out."""
    syncs, folder = served
    state = read(folder / SNAPSHOT, syncs.registry.id).data
    component = AirbyteSyncs.resolve_from_dict(
        yaml.safe_load((folder / "defs.yaml").read_text())["attributes"]
    )
    for props in state.to_airbyte_connection_table_props_data():
        blind = copy(props, destination_type=None, database=None, schema=None)
        assert component.get_asset_spec(blind).key == component.get_asset_spec(props).key


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"type": "cloud"}, "wants client_id"),
        ({"username": "env:A"}, "belong together"),
        (
            {"username": "env:A", "password": "env:B", "client_id": "env:C", "client_secret": "env:D"},
            "choose one",
        ),
    ],
)
def test_a_login_that_cannot_work_fails_the_load(tmp_path, given, word):
    folder = write_instance(tmp_path / "airbyte", "w")
    content = yaml.safe_load((folder / "defs.yaml").read_text())
    content["attributes"]["workspace"] |= given
    (folder / "defs.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(folder)
    assert word in "".join(format_exception(error.value))


def test_connections_that_airbyte_does_not_schedule_are_synced_by_ours(tmp_path):
    folder = shutil.copytree(INSTANCE, tmp_path / "airbyte")
    schedules = {s.name: s for s in load(folder).schedules or ()}
    assert {name: s.cron_schedule for name, s in schedules.items()} == {
        "pull_airbyte_demo_faker": "0 1 * * *"
    }
    text = json.loads((folder / SNAPSHOT).read_text())
    for connection in text["connections"].values():
        connection["schedule"] = "cron"
    (folder / SNAPSHOT).write_text(json.dumps(text))
    found = load(folder)
    assert not found.schedules
    assert specs_of(found)["airbyte/users"].metadata["airbyte/schedule"] == "cron"
