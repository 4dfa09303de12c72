"""What is wrong outside gives a clear sentence or an empty, valid table; never a bare stack trace."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml

from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.components.files import file_asset
from asgard_assets.components.silver import silver_asset, tables_in
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings
from asgard_assets.windows import days_between
from tests.checkout import ROOT
from tests.end_to_end.homes import Home, materialize_arguments
from tests.fakes.airbyte import load

DEFS = ROOT / "asgard_assets" / "defs"
FOLDERS = sorted(str(path.parent.relative_to(DEFS)) for path in DEFS.rglob("defs.yaml"))
DAYS = days_between("2026-10-05", "2026-10-07")
NOWHERE = "http://127.0.0.1:9"


def attributes(folder: str) -> dict[str, Any]:
    return yaml.safe_load((DEFS / folder / "defs.yaml").read_text())["attributes"]


# A wrong key in any YAML ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["attributes", "document"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_wrong_key_fails_at_load_with_file_and_line(tmp_path: Path, folder: str, place: str) -> None:
    copy = tmp_path / "instance"
    copy.mkdir()
    for path in (DEFS / folder).glob("*.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    content = yaml.safe_load((copy / "defs.yaml").read_text())
    (content.setdefault("attributes", {}) if place == "attributes" else content)["colour"] = "red"
    text = yaml.safe_dump(content, sort_keys=False)
    (copy / "defs.yaml").write_text(text)
    line = 1 + next(n for n, written in enumerate(text.splitlines()) if "colour" in written)
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011  pydantic's own, or Dagster's around it
        load(copy)
    said = f"{caught.value} {caught.value.__cause__}"
    assert f"defs.yaml:{line}" in said
    assert "colour" in said


# Bad data, through Dagster -------------------------------------------------------------------------------

Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def run(settings: Settings, spark: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Materialize one asset for `DAYS`, or for those given."""
    monkeypatch.setenv("ASGARD_DEMO_API_URL", NOWHERE)
    monkeypatch.setenv("ASGARD_DEMO_TOKEN", "demo-token")
    with dg.DagsterInstance.ephemeral() as instance:

        def materialize(asset: dg.AssetsDefinition, days: list[str] = DAYS) -> dg.ExecuteInProcessResult:
            session = dg.ResourceDefinition.hardcoded_resource(SimpleNamespace(session=spark))
            return dg.materialize(
                [asset],
                resources=resources() | {"spark": session},
                instance=instance,
                raise_on_error=False,
                tags={
                    "dagster/asset_partition_range_start": days[0],
                    "dagster/asset_partition_range_end": days[-1],
                },
            )

        yield materialize


def sentence(result: dg.ExecuteInProcessResult) -> str:
    """What the run's failure shows to a person."""
    assert not result.success
    (event,) = result.get_step_failure_events()
    shown = event.step_failure_data.user_failure_data
    assert shown is not None, event.step_failure_data.error
    assert shown.description is not None
    assert "Traceback" not in shown.description
    return shown.description


def files(folder: str) -> tuple[dg.AssetsDefinition, Path]:
    """A file source of the project, and its landing folder."""
    source = FileSource.model_validate(attributes(f"bronze/files/{folder}"))
    landing = Path(Settings().landing_root) / source.path
    landing.mkdir(parents=True)
    return file_asset(source), landing


def silver(name: str) -> dg.AssetsDefinition:
    (table,) = tables_in(importlib.import_module(f"asgard_assets.defs.silver.{name}"))
    return silver_asset(table)


def counts(lake: Lake, table: str) -> dict[str, int]:
    with lake.connect() as connection:
        found = connection.execute(f"select ds, count(*) from {table} group by 1 order by 1").fetchall()
    return dict(found)


@pytest.mark.slow
def test_an_unreachable_api_is_named(run: Run, lake: Lake) -> None:
    model = ApiIngestModel.model_validate(attributes("bronze/tickets") | {"retries": 0})
    said = sentence(run(api_asset(model), DAYS[:1]))
    assert f"{NOWHERE} refused the connection; is the API up?" in said
    assert lake.tables() == []


def test_a_missing_landing_folder_is_named_with_its_setting(run: Run, lake: Lake) -> None:
    asset, landing = files("contacts")
    landing.rmdir()
    assert "ASGARD_LANDING" in sentence(run(asset))
    assert lake.tables() == []


def test_a_malformed_file_stops_its_day_and_malformed_records_do_not(run: Run, lake: Lake) -> None:
    asset, landing = files("contacts")
    for day, name, content in (
        (DAYS[0], "good.csv", b"user_id,email\n1,a@example.org\n2\n"),
        (DAYS[1], "broken.csv.gz", b"this is no gzip"),
    ):
        (landing / f"ds={day}").mkdir()
        (landing / f"ds={day}" / name).write_bytes(content)
    said = sentence(run(asset))
    assert f"contacts/ds={DAYS[1]}/broken.csv.gz is not compressed with gzip" in said
    assert counts(lake, "bronze.contacts") == {DAYS[0]: 1}
    assert counts(lake, "quarantine.contacts") == {DAYS[0]: 1, DAYS[1]: 1}
    assert lake.epochs("bronze", "contacts", DAYS) == {DAYS[0]: 1, DAYS[1]: 0, DAYS[2]: 1}


@pytest.mark.slow
def test_an_empty_partition_is_an_empty_valid_table_in_bronze_and_silver(run: Run, lake: Lake) -> None:
    asset, _ = files("invoices")
    assert run(asset).success
    assert run(silver("invoices")).success
    for stage in ("bronze", "silver", "rejected"):
        assert counts(lake, f"{stage}.invoices") == {}
        assert lake.epochs(stage, "invoices", DAYS) == dict.fromkeys(DAYS, 1)


@pytest.mark.parametrize(
    ("name", "upstream"), [("usage", "bronze/usage"), ("tickets", "bronze/tickets"), ("invoices", "bronze/invoices")]
)  # fmt: skip
def test_a_missing_upstream_partition_is_named_with_what_to_run(
    run: Run, lake: Lake, name: str, upstream: str
) -> None:
    said = sentence(run(silver(name), DAYS[:2]))
    assert f"{upstream} has no data for {DAYS[0]}, {DAYS[1]}" in said
    assert f"dagster asset materialize --select {upstream} --partition-range {DAYS[0]}...{DAYS[1]}" in said
    assert lake.tables() == []


def test_rows_that_an_api_asset_asks_for_must_exist(run: Run, lake: Lake) -> None:
    model = ApiIngestModel.model_validate(attributes("bronze/usage"))
    assert "materialize bronze/users first" in sentence(run(api_asset(model), DAYS[:1]))


# The same from the command line, in a home without any data ----------------------------------------------

LACKING = [
    ("airbyte/users", "", "is it running, and does ASGARD_AIRBYTE_URL name it?"),
    ("bronze/users", DAYS[0], "does not exist, so there is nothing to load from"),
    ("bronze/tickets", DAYS[0], "refused the connection; is the API up?"),
    ("silver/purchases", DAYS[0], "materialize it first"),
    ("gold/customer_metrics", DAYS[0], "was never published"),
    ("features/customer_value", DAYS[0], "materialize"),
    ("features/online", "", "materialize"),
    ("model/churn_training_set", "2026-10-12", "materialize"),
    ("model/churn_model", "2026-10-12", "materialize"),
    ("model/churn_predictions", DAYS[0], "champion"),
]
# One process for all commands, as `asgard demo` has it: the project is loaded and Spark is started once.
ONE_AFTER_ANOTHER = """
import json, os, sys
from importlib.metadata import entry_points
os.dup2(1, 2)  # what each command says, in order
main = next(iter(entry_points(group="console_scripts", name="dagster"))).load()
for arguments in json.loads(sys.argv.pop()):
    sys.argv = ["dagster", *arguments]
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code
    print(f"exit code {code}", flush=True)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `dagster asset materialize` says of each asset where there is nothing; none leaves a table."""
    home = Home(tmp_path_factory.mktemp("empty") / "home")
    (home.path / "dagster").mkdir(parents=True)
    commands = [materialize_arguments(f'key:"{asset}"', partition) for asset, partition, _ in LACKING]
    done = home.run(
        "python", "-u", "-c", ONE_AFTER_ANOTHER, json.dumps(commands),
        ASGARD_DEMO_TOKEN="demo-token",
    )  # fmt: skip
    assert done.stdout.count("exit code 1\n") == len(LACKING), done.stdout[-5000:]
    assert home.lake.tables() == []
    assets = (asset for asset, *_ in LACKING)
    return dict(zip(assets, done.stdout.split("exit code 1\n"), strict=False))


@pytest.mark.servers
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("asset", "words"), [(asset, words) for asset, _, words in LACKING])
def test_every_stage_says_what_it_lacks(said: dict[str, str], asset: str, words: str) -> None:
    failure = next((line for line in said[asset].splitlines() if "Failure:" in line), said[asset])
    assert words in failure
    assert "dagster execution error caused by" not in said[asset]
