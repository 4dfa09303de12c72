"""In every stage that writes: what a blocking check refuses, nobody sees.

Bad data is planted where it would come from, on a copy of the demo; the stage's own asset runs on it; and
another process, with delta-rs alone, finds the table at the version at which it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
import yaml

from asgard_assets.components.files import file_asset
from asgard_assets.definitions import defs
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.resources.environment import resources
from asgard_assets.windows import days_between
from tests.checkout import ROOT
from tests.end_to_end.homes import Home, listens
from tests.patience import ended, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1800)]
DAY, WEEK = "2026-10-20", "2026-10-26"


@pytest.fixture
def blocked(copy_of_demo: Home, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Materialize an asset, and see it fail by `check` without a trace in its table."""
    for name, value in copy_of_demo.env.items():
        if name.startswith("ASGARD_"):
            monkeypatch.setenv(name, value)

    def materialize(
        table: str,
        partition: str,
        check: str,
        asset: dg.AssetsDefinition | None = None,
        config: dict | None = None,
    ) -> None:
        key = dg.AssetKey(table.split("/"))
        # Resources are bound when definitions load: here, for this home.
        bound = resources() if asset else None
        asset = asset or defs().resolve_assets_def(key)
        before = version_seen_by_another_process(copy_of_demo, table)
        result = dg.materialize(
            [asset],
            selection=[key],
            partition_key=partition,
            resources=bound,
            run_config={"ops": {asset.op.name: {"config": config}}} if config else None,
            raise_on_error=False,
        )
        assert not result.success, f"{table} was published"
        failing = [c.check_name for c in result.get_asset_check_evaluations() if not c.passed]
        said = " ".join(
            str(event.step_failure_data.user_failure_data or event.step_failure_data.error)
            for event in result.get_step_failure_events()
        )
        assert any(check in name for name in failing), said
        assert not result.asset_materializations_for_node(asset.op.name)
        assert partition in said and table in said, said
        assert version_seen_by_another_process(copy_of_demo, table) == before >= 0

    return materialize


def version_seen_by_another_process(home: Home, table: str) -> int:
    code = "import sys, deltalake; print(deltalake.DeltaTable(sys.argv[1]).version())"
    path = str(home.path / "lake" / table)
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    return int(done.stdout)


def plant(lake: Lake, table: str, days: list[str], change: Callable[[pa.Table], pa.Table]) -> None:
    """Publish `days` of a table again, changed, as the stage before would have."""
    stage, name = table.split("/")
    with lake.connect() as connection:
        days_sql = ", ".join(f"'{day}'" for day in days)
        rows = connection.execute(f"select * from {stage}.{name} where ds in ({days_sql})").to_arrow_table()
    staging = lake.stage(stage, name, rows.schema, days)
    lake.write(staging, change(rows))
    lake.publish(staging)


def with_column(rows: pa.Table, name: str, values) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows.set_column(place, rows.schema.field(place), pa.array(values, rows.schema.field(place).type))


def test_bronze_files_refuse_a_day_that_breaks_a_check_of_their_yaml(copy_of_demo: Home, blocked):
    declared = yaml.safe_load(Path(ROOT, "asgard_assets/defs/bronze/files/invoices/defs.yaml").read_text())
    check = {"name": "amount_is_a_number", "sql": "try_cast(amount as double) is not null"}
    strict = FileSource(
        **declared["attributes"], checks=[check]
    )  # the demo's files hold an amount of "12,5O"
    landed = next((copy_of_demo.path / "landing" / "invoices" / f"ds={DAY}").glob("*.csv"))
    landed.write_text(landed.read_text() + "\n")  # accounting delivers the file again
    blocked("bronze/invoices", DAY, "amount_is_a_number", asset=file_asset(strict))


def test_bronze_from_an_api_refuses_a_day_of_failed_requests(copy_of_demo: Home, blocked):
    def renumbered(rows: pa.Table) -> pa.Table:
        return with_column(rows, "id", [str(int(user) + 100_000) for user in rows["id"].to_pylist()])

    # No user of the new numbers is known to the API, which answers 404.
    plant(copy_of_demo.lake, "bronze/users", ["2026-10-05"], renumbered)
    server = copy_of_demo.start(
        "python", "-m", "deployments.local.demo.api", "--port", str(copy_of_demo.api_port)
    )
    try:
        wait_until(lambda: listens(copy_of_demo.api_port), 30, "the API answers")
        blocked("bronze/usage", DAY, "success_rate", config={"reload": "all"})
    finally:
        ended(server, 15)


def test_silver_refuses_a_day_of_another_unit(copy_of_demo: Home, blocked):
    def in_seconds(rows: pa.Table) -> pa.Table:
        bodies = [json.loads(body) if ok else body for body, ok in zip(
            rows["body"].to_pylist(), rows["success"].to_pylist(), strict=True
        )]  # fmt: skip
        for body in bodies:
            if isinstance(body, dict) and isinstance(body["minutes"], float):
                body["minutes"] *= 60
        texts = [json.dumps(body) if isinstance(body, dict) else body for body in bodies]
        return with_column(rows, "body", texts)

    plant(copy_of_demo.lake, "bronze/usage", [DAY], in_seconds)
    blocked("silver/usage", DAY, "usage_is_plausible")


def test_gold_refuses_a_day_with_a_state_that_nobody_told_of(copy_of_demo: Home, blocked):
    plant(
        copy_of_demo.lake,
        "silver/usage",
        [DAY],
        lambda rows: with_column(rows, "subscription", ["paused"] * rows.num_rows),
    )
    blocked("gold/customer_metrics", DAY, "accepted_values")


def test_the_training_set_refuses_a_cut_off_at_which_nobody_left(copy_of_demo: Home, blocked):
    plant(
        copy_of_demo.lake,
        "gold/customer_metrics",
        days_between("2026-10-05", "2026-11-01"),
        lambda rows: with_column(rows, "subscription", ["active"] * rows.num_rows),
    )
    blocked("model/churn_training_set", WEEK, "both_splits_have_both_outcomes")


def test_predictions_refuse_the_scores_of_a_model_that_diverged(copy_of_demo: Home, blocked):
    from asgard_assets.ml.candidate import stored
    from asgard_assets.ml.inputs import part
    from asgard_assets.ml.project import model_in
    from asgard_assets.ml.registry import Provenance, Registry

    churn = model_in(ROOT / "asgard_assets" / "defs" / "model" / "churn")
    lake, registry = copy_of_demo.lake, Registry.from_settings("churn")
    diverged = registry.load(registry.champion())
    diverged.named_steps["classifier"].coef_[:] = float("nan")
    rows, version = stored(churn, lake, WEEK)
    provenance = Provenance(
        partition=WEEK, cut_off="2026-11-02", data_hash="diverged", table="model.churn_training_set", table_version=version,
        table_path=lake.path("model", "churn_training_set"), features_hash="", code_version="",
    )  # fmt: skip
    example = part(churn, rows, "validation")[0].head(5)
    registered = registry.register(diverged, provenance, (example, np.zeros(len(example))), {}, {}, {})
    assert registry.promote(registered).number == registered.number
    blocked("model/churn_predictions", DAY, "probability_is_one")
