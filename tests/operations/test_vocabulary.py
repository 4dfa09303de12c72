"""One vocabulary: the same words and options for an API, files, an Airbyte connection and a selection of assets."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from asgard_assets.cli import app
from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.components.files import file_asset
from asgard_assets.components.partitions import daily, weekly
from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.operations import sources
from asgard_assets.operations.runs import Launch, Ran, launch, launches
from asgard_assets.operations.sources import Kind, catalog
from asgard_assets.operations.targets import find
from asgard_assets.settings import Settings

DAY, NEXT, LAST = "2026-10-05", "2026-10-06", "2026-10-07"
API = {
    "name": "tickets",
    "form": {"type": "pull", "items": "data"},
    "endpoint": {"base_url": "http://127.0.0.1:1", "path": "/tickets", "query": {"date": "{partition.key}"}},
    "sink": {"table": "bronze/tickets"},
    "quality": {"description": "Tickets."},
}
FILES = {"path": "crm", "ds": {"type": "folder"}, "description": "Contacts."}


def project() -> dg.Definitions:
    """An API, files, an Airbyte stream with its Bronze table, and tables by day, by week and without partitions."""
    api = api_asset(ApiIngestModel.model_validate({"source": API}))
    contacts = file_asset(FileSource.model_validate({**FILES, "name": "contacts"}))
    users = file_asset(
        FileSource.model_validate(
            {**FILES, "name": "users", "path": "airbyte/users", "deps": [["airbyte", "users"]]}
        )
    )

    @dg.asset(
        key=["airbyte", "users"], metadata={"airbyte/connection_id": "1"}, tags={"connection": "crm_sync"}
    )
    def sync() -> None: ...

    single = {"backfill_policy": dg.BackfillPolicy.single_run()}

    @dg.asset(key=["silver", "tickets"], deps=[api], partitions_def=daily(), group_name="above", **single)
    def silver() -> None: ...

    @dg.asset(key=["model", "weekly"], deps=[silver], partitions_def=weekly(), group_name="above")
    def model() -> None: ...

    @dg.asset(key=["features", "online"], deps=[silver], group_name="above")
    def online() -> None: ...

    @dg.asset(
        key=["model", "scores"], deps=[model, silver], partitions_def=daily(), group_name="above", **single
    )
    def scores() -> None: ...

    return dg.Definitions(
        assets=[api, contacts, users, sync, silver, model, online, scores],
        resources=dict.fromkeys(("lake", "spark", "step_launcher")),
    )


@pytest.fixture
def started(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """The project; runs that commands ask for, instead of real ones."""
    definitions, asked = project(), list[Launch]()
    home = Path(settings.home) / "dagster"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr(sources, "load_definitions", lambda: definitions)

    def execute(one: Launch, instance: object) -> Ran:
        asked.append(one)
        return Ran(one.assets, one.partitions, ok=True)

    monkeypatch.setattr("asgard_assets.operations.runs.execute", execute)
    return asked


def asgard(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def runs(asked: list[Launch]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(one.assets, one.partitions) for one in asked]


def test_all_sources_are_listed(started):
    found = {one["name"]: one for one in json.loads(asgard("sources", "--output", "json"))}
    assert {name: one["kind"] for name, one in found.items()} == {
        "tickets": "api", "contacts": "files", "users": "files", "crm_sync": "airbyte",
    }  # fmt: skip
    assert found["crm_sync"]["assets"] == ["airbyte/users"] and found["crm_sync"]["tables"] == [
        "bronze/users"
    ]
    assert "contacts  files    crm/" in asgard("sources")
    assert catalog().named("tickets").kind is Kind.api  # type: ignore[union-attr]


def test_run_takes_a_source_of_each_kind(started, settings):
    landing = Path(settings.landing_root)
    for folder in ("crm", "airbyte/users"):
        (landing / folder / f"ds={DAY}").mkdir(parents=True)
        (landing / folder / f"ds={DAY}" / "2026_10_05_a.csv").write_text("id\n1\n")
    asgard("run", "contacts")
    asgard("run", "crm_sync")
    asgard("run", "tickets", "--partitions", f"{DAY}...{NEXT}", "--all")
    assert runs(started) == [
        (("bronze/contacts",), (DAY,)),
        (("airbyte/users",), ()),
        (("bronze/users",), (DAY,)),
        (("bronze/tickets",), (DAY, NEXT)),
    ]
    assert started[-1].config == {"ops": {"api_tickets": {"config": {"reload": "all"}}}}
    assert started[-1].tags["dagster/asset_partition_range_end"] == NEXT


def test_a_selection_across_calendars_takes_several_runs_upstream_first(started):
    asgard("run", "group:above", "--partitions", "2026-10-12...2026-10-19")
    days = tuple(f"2026-10-{day}" for day in range(12, 20))
    assert runs(started) == [
        (("silver/tickets",), days),
        (("features/online",), ()),
        (("model/weekly",), ("2026-10-12",)),
        (("model/weekly",), ("2026-10-19",)),
        (("model/scores",), days),
    ]


def test_what_stands_on_a_failed_run_is_skipped_and_the_rest_still_runs(started):
    graph = project().resolve_asset_graph()
    wanted = {"silver/tickets": [DAY, LAST], "model/scores": [DAY, LAST], "features/online": None}
    todo = launches(graph, {**wanted, "bronze/contacts": [DAY]})

    def run(one: Launch) -> Ran:
        return Ran(
            one.assets, one.partitions, ok="silver/tickets" not in one.assets or one.partitions != (DAY,)
        )

    done = {(one.assets, one.partitions): one for one in launch(graph, todo, run)}
    assert done[("features/online",), ()].skipped
    assert all(one.ok for (assets, _), one in done.items() if assets == ("bronze/contacts",))
    bad = [assets for (assets, partitions), one in done.items() if not one.ok and partitions == (LAST,)]
    assert bad == []


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A calendar of which no window is open."""
    monkeypatch.setenv("ASGARD_PARTITION_END", "2026-11-02")


def test_a_run_without_partitions_takes_what_is_missing(ended, started, settings):
    with dg.DagsterInstance.get() as instance:
        for day in daily().get_partition_keys()[:-2]:
            instance.report_runless_asset_event(dg.AssetMaterialization(["silver", "tickets"], partition=day))
    asgard("run", "silver/tickets")
    assert runs(started) == [(("silver/tickets",), tuple(daily().get_partition_keys()[-2:]))]
    started.clear()
    asgard("backfill", "silver/tickets", "--partitions", f"{DAY}...{NEXT}")
    assert started == []
    asgard("backfill", "silver/tickets", "--partitions", f"{DAY}...{NEXT}", "--all")
    assert runs(started) == [(("silver/tickets",), (DAY, NEXT))]


def test_retry_runs_what_failed_and_tells_the_sensor_of_files(started, monkeypatch):
    @dg.asset(key=["silver", "tickets"], partitions_def=daily())
    def broken() -> None:
        raise ValueError("no")

    with dg.DagsterInstance.get() as instance:
        dg.materialize([broken], instance=instance, partition_key=NEXT, raise_on_error=False)
    asgard("retry", "silver/tickets")
    assert runs(started) == [(("silver/tickets",), (NEXT,))]
    assert "contacts: attempt 1 starts at the next tick" in asgard("retry", "contacts")
    assert len(started) == 1


def test_pause_and_resume_take_every_kind_of_source_and_a_selection(started, settings):
    for folder in ("crm", "airbyte/users"):
        (Path(settings.landing_root) / folder).mkdir(parents=True)
    for name in ("tickets", "contacts", "crm_sync"):
        assert "paused since" in asgard("pause", name, "--reason", "later")
        assert "later" in json.loads(asgard("state", name, "--output", "json"))["paused"]
    assert "users" in [
        one["source"] for one in json.loads(asgard("state", "--output", "json")) if one["paused"]
    ]
    assert asgard("resume", "crm_sync").strip() == "crm_sync: resumed"
    asgard("pause", "bronze/users")
    assert "resumed" in asgard("resume", "key:bronze/*")
    with pytest.raises(ConfigError, match="selects no source"):
        asgard("pause", "group:above")


def test_clean_compacts_tables_and_leaves_file_sources_that_did_not_ask_for_it(started, lake, settings):
    rows = pa.table({"id": [1], "ds": [DAY]})
    staging = lake.stage("silver", "tickets", rows.schema, [DAY])
    lake.write(staging, rows)
    lake.publish(staging)
    told = json.loads(asgard("clean", "silver/tickets", "--output", "json"))
    assert [one["table"] for one in told["tables"]] == ["silver/tickets"] and told["files"] == {}
    assert "0 old files would go" in asgard("clean", "group:above", "--dry-run")
    assert "nothing to clean" in asgard("clean", "tickets")
    with pytest.raises(ConfigError, match="cleaning is off"):
        asgard("clean", "contacts")
    with pytest.raises(ConfigError, match="cleaning is off for all of them"):
        asgard("clean", "key:bronze/users or key:bronze/contacts")


def test_several_targets_are_written_with_commas(started):
    found = find(catalog(), "contacts, silver/tickets,crm_sync")
    assert set(found.assets) == {"bronze/contacts", "silver/tickets", "airbyte/users"}
    assert {source.name for source in found.sources} == {"contacts", "crm_sync"}
    with pytest.raises(ConfigError, match="'contact' is no source"):
        find(catalog(), "silver/tickets,contact")


def test_state_of_a_selection_counts_partitions(started):
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(["silver", "tickets"], partition=DAY))
    told = {one["asset"]: one for one in json.loads(asgard("state", "group:above", "--output", "json"))}
    assert (told["silver/tickets"]["published"], told["silver/tickets"]["newest"]) == (1, DAY)
    assert told["features/online"]["partitions"] is None
    assert "silver/tickets: 1 of 28 partitions, newest 2026-10-05" in asgard("state", "silver/tickets")


def test_a_failed_run_is_told_with_its_reason_and_fails_the_command(started, monkeypatch):
    def execute(one: Launch, instance: object) -> Ran:
        return Ran(one.assets, one.partitions, ok=False, reasons=("silver/tickets: no",))

    monkeypatch.setattr("asgard_assets.operations.runs.execute", execute)
    with pytest.raises(LakeError, match="silver/tickets: no"):
        asgard("run", "silver/tickets", "--partitions", DAY)
    told = json.loads(asgard("run", "silver/tickets", "--partitions", DAY, "--output", "json", code=1))
    assert told["runs"][0]["reasons"] == ["silver/tickets: no"]


def test_a_file_source_in_no_project_is_previewed_and_estimated_from_a_sample(started, settings, tmp_path):
    landing = Path(settings.landing_root) / "refunds"
    for day in (DAY, NEXT):
        (landing / f"ds={day}").mkdir(parents=True)
        (landing / f"ds={day}" / "a.csv").write_text("id,amount\n" + "1,2.5\n" * 500)
    path = tmp_path / "refunds.yaml"
    path.write_text(
        "type: asgard_assets.components.files.FileIngest\nattributes:\n  name: refunds\n  path: refunds\n"
        "  ds: {type: folder}\n  description: Refunds.\n"
    )
    [plan] = json.loads(asgard("plan", str(path), "--output", "json"))["assets"]
    assert (plan["files"], plan["bytes"], plan["partitions"]) == (2, 6020, [DAY, NEXT])
    assert (plan["rows"], plan["sampled_files"]) == (1000, 2)
    assert plan["seconds"] > 0 and plan["stored_bytes"] > 0 and plan["compute_cost"] > 0
    assert "sample of 1 files" in asgard("plan", str(path), "--partitions", DAY)
    shown = json.loads(asgard("preview", str(path), "--limit", "2", "--output", "json"))
    assert shown["columns"] == {"id": "string", "amount": "string"} and len(shown["rows"]) == 2
    assert json.loads(asgard("state", str(path), "--output", "json"))["files"] == 2
    with pytest.raises(ConfigError, match="put it into the project"):
        asgard("run", str(path))
    path.write_text(path.read_text().replace("folder", "fold"))
    with pytest.raises(ConfigError, match=r"refunds.yaml:5: ds"):
        asgard("plan", str(path))


def test_an_api_in_no_project_is_planned_by_its_requests(started, tmp_path):
    rows, path = tmp_path / "users.csv", tmp_path / "usage.yaml"
    rows.write_text("id\n" + "\n".join(map(str, range(40))))
    path.write_text(
        "name: usage\nendpoint: {base_url: 'http://127.0.0.1:1', path: '/users/{row.id}'}\n"
        "form: {type: row, rows: {key: {id: bigint}}}\nlimits: {requests_per_second: 10}\n"
        "sink: {table: bronze/usage}\nquality: {description: Usage.}\n"
    )
    [plan] = json.loads(
        asgard("plan", str(path), "--rows", str(rows), "--partitions", DAY, "--output", "json")
    )["assets"]
    assert (plan["requests"], plan["seconds"], plan["partitions"]) == (40, 4.0, [DAY])


def test_every_command_teaches_with_an_example_and_describes_its_options():
    command = typer.main.get_command(app)
    groups = [("asgard", command)]
    while groups:
        path, group = groups.pop()
        for name, one in getattr(group, "commands", {}).items():
            if hasattr(one, "commands"):
                groups.append((f"{path} {name}", one))
                continue
            assert "Example" in (one.help or ""), f"{path} {name} --help has no example"
            assert f"{path} {name}" in (one.help or ""), f"the example of {path} {name} is of another command"
            for option in one.params:
                assert option.name == "help" or getattr(option, "help", None), f"{path} {name}: {option.name}"
                assert not {"--json", "--partition", "--mode"} & set(option.opts), (
                    f"{path} {name}: {option.opts}"
                )
