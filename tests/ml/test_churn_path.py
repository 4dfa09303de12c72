"""Features to predictions on the demo's world, with real Feast, MLflow and scikit-learn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from asgard_assets.errors import ModelError, SourceError
from asgard_assets.lake import Lake
from asgard_assets.ml import online, training
from asgard_assets.ml.candidate import code_version, propose, stored
from asgard_assets.ml.contracts import schema, training_set
from asgard_assets.ml.moments import cut_off, day_ending, midnight
from asgard_assets.ml.predict import predict
from asgard_assets.ml.project import model_in
from asgard_assets.ml.registry import Registry
from asgard_assets.ml.store import OpenStore, open_store
from asgard_assets.ml.window import validate
from asgard_assets.quality.audit import audit
from asgard_assets.settings import Settings
from deployments.local.demo.world import World
from tests.checkout import ROOT
from tests.ml.world_gold import DAYS, gold, publish

pytestmark = pytest.mark.servers

CHURN = model_in(ROOT / "asgard_assets" / "defs" / "model" / "churn")
VIEWS = CHURN.views
SPEC = training_set(CHURN)
WEEKS = ["2026-10-12", "2026-10-19", "2026-10-26"]
START = "2026-10-05"


@dataclass(frozen=True)
class Home:
    settings: Settings
    lake: Lake
    store: OpenStore
    registry: Registry
    rows: list[dict]


@pytest.fixture(scope="module")
def world_rows() -> list[dict]:
    return gold()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, world_rows: list[dict]) -> Iterator[Home]:
    """A home with 28 days of Gold; tests that change a table use `fresh`."""
    yield from _home(tmp_path_factory.mktemp("home") / "pfad mit ü #1 100% x", world_rows)


@pytest.fixture
def fresh(tmp_path: Path, world_rows: list[dict]) -> Iterator[Home]:
    yield from _home(tmp_path, [dict(row) for row in world_rows])


def _home(folder: Path, rows: list[dict]) -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASGARD_HOME", str(folder))
        settings = Settings()
        lake = Lake.from_settings(settings)
        publish(lake, rows)
        with open_store(settings) as store:
            yield Home(settings, lake, store, Registry.from_settings("churn", settings), rows)


def ends(weeks: list[str]) -> dict[str, datetime]:
    return {week: cut_off(week) for week in weeks}


def store_set(lake: Lake, rows: pa.Table, weeks: list[str]) -> None:
    staging = lake.stage("model", "churn_training_set", schema(SPEC), weeks)
    lake.write(staging, rows)
    assert audit(lake, staging, SPEC).bad_days == {}
    lake.publish(staging)


@pytest.fixture(scope="module")
def trained(home: Home) -> Home:
    """Three cut-offs trained and promoted in order."""
    store_set(home.lake, training.build(CHURN, home.store, ends(WEEKS), START), WEEKS)
    for week in WEEKS:
        candidate = propose(CHURN, home.lake, home.registry, week)
        if candidate.verdict.passed:
            home.registry.promote(candidate.version)
    return home


# Feature views -------------------------------------------------------------------------------------------


def test_a_range_is_read_once_and_counted_by_day_without_copying_a_byte(home: Home):
    for view in VIEWS.values():
        window = validate(home.store, view, DAYS)
        assert window.rows == dict.fromkeys(DAYS, 800)
        assert {name: sum(days.values()) for name, days in window.broken.items() if sum(days.values())} == {}
        assert window.files == dict.fromkeys(DAYS, 1)


def test_a_day_that_gold_never_published_is_named(tmp_path: Path, world_rows: list[dict]):
    for home in _home(tmp_path, [row for row in world_rows if row["ds"] == DAYS[0]]):
        publish(home.lake, [row for row in world_rows if row["ds"] == DAYS[0]], DAYS[:1])
        view = VIEWS["customer_value"]
        # Published and empty is a valid window; never published is an error.
        assert validate(home.store, view, DAYS[:2]).rows == {DAYS[0]: 800, DAYS[1]: 0}
        with pytest.raises(SourceError, match="2026-11-02"):
            validate(home.store, view, ["2026-11-02"])


def test_feast_reads_the_replaced_rows_never_the_old_ones(fresh: Home):
    day = [dict(row) | {"orders": 77} for row in fresh.rows if row["ds"] == DAYS[9]]
    publish(fresh.lake, day, [DAYS[9]])
    rows = training.features_at(
        CHURN,
        fresh.store,
        training.population(CHURN, fresh.store, [midnight(DAYS[10])], history=True),
        history=True,
    )
    assert set(rows["customer_value__orders"]) == {77}
    window = validate(fresh.store, VIEWS["customer_value"], [DAYS[9]])
    assert window.broken["copies_no_byte"] == {DAYS[9]: 0} and window.rows == {DAYS[9]: 800}


def test_the_feast_command_line_applies_the_repository(tmp_path: Path):
    repo = tmp_path / "feature_repo"
    shutil.copytree(ROOT / "feature_repo", repo, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".asgard" / "feast").mkdir(parents=True)
    feast = Path(sys.executable).with_name("feast")
    named = {"PYTHONPATH": str(ROOT), "ASGARD_PROJECT": str(ROOT), "ASGARD_HOME": str(tmp_path)}
    environment = {**os.environ, **named}

    def run(*arguments: str) -> str:
        command = [str(feast), "-c", str(repo), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    run("apply")
    assert "customer_value" in run("feature-views", "list") and "churn" in run("feature-services", "list")


# Point in time -------------------------------------------------------------------------------------------


def test_the_join_equals_an_independent_asof_join(fresh: Home):
    # Every fifth row was known only a day late, so that knowledge time matters too.
    for number, row in enumerate(fresh.rows):
        if number % 5 == 0:
            row["created_at"] = row["event_timestamp"] + timedelta(days=1)
    publish(fresh.lake, fresh.rows)
    import pandas as pd

    moments = pd.date_range("2026-10-06", "2026-11-04", freq="11h", tz="UTC")
    asked = pd.DataFrame(
        [(c, m) for c in range(1, 801, 7) for m in moments], columns=["customer_id", "snapshot"]
    )
    joined = training.features_at(CHURN, fresh.store, asked, history=True)
    published = fresh.lake.table("gold", "customer_metrics")
    assert published is not None
    with duckdb.connect() as connection:
        connection.register("asked", asked)
        connection.register("customer_metrics", published.to_pyarrow_table())
        expected = connection.sql(
            """with known as (
                select a.customer_id, a.snapshot, arg_max(g.ds, g.event_timestamp) as ds from asked a
                join customer_metrics g on g.customer_id = a.customer_id and g.event_timestamp <= a.snapshot
                and g.created_at <= a.snapshot and g.event_timestamp >= a.snapshot - interval 7 day group by all)
            select a.customer_id, a.snapshot, g.sessions_7d, g.unpaid_amount, g.event_timestamp, g.created_at
            from asked a left join known k using (customer_id, snapshot)
            left join customer_metrics g on g.customer_id = a.customer_id and g.ds = k.ds
            order by 1, 2"""
        ).fetchall()
    columns = ["sessions_7d", "event_timestamp", "created_at"]
    names = ["customer_id", "snapshot", "customer_activity__sessions_7d", "customer_value__unpaid_amount"]
    names += [f"customer_activity__{name}" for name in columns[1:]]
    got = pa.Table.from_pandas(joined.sort_values(["customer_id", "snapshot"])[names], preserve_index=False)
    found = [tuple(row.values()) for row in got.to_pylist()]
    missing = sum(row[2] is None for row in expected)
    assert 0 < missing < len(expected) / 2, "misses are part of what is compared"
    assert _plain(found) == _plain(expected)


def _plain(rows: list[tuple]) -> list[tuple]:
    return [
        tuple(None if v is None or v != v else getattr(v, "isoformat", lambda v=v: float(v))() for v in r)
        for r in rows
    ]


def test_labels_are_what_the_world_did_in_the_seven_days_after(home: Home):
    moments = training.snapshots(CHURN.spec, cut_off(WEEKS[1]), START)
    found = training.labels(CHURN, home.store, moments, cut_off(WEEKS[1]))
    world = World(800)
    for moment in moments:
        happened = set(world.ids[world.outcome(day_ending(moment))].tolist())
        at = found[found["snapshot"] == moment]
        assert set(at[at["cancelled"]]["customer_id"]) == happened & set(at["customer_id"])
        assert happened <= set(at["customer_id"])


def test_a_planted_leak_is_kept_out_and_would_be_caught(fresh: Home):
    # Ten customers' rows of one day were completed by data of a week later.
    snapshot = midnight("2026-10-10")
    for row in fresh.rows:
        if row["ds"] == day_ending(snapshot) and row["customer_id"] <= 10:
            row["created_at"] = snapshot + timedelta(days=7)
            row["sessions_7d"] = 10_000
    publish(fresh.lake, fresh.rows)
    honest = training.build(CHURN, fresh.store, ends(WEEKS[:1]), START)
    assert max(honest["customer_activity__sessions_7d"].to_pylist()) < 10_000
    store_set(fresh.lake, honest, WEEKS[:1])
    version = fresh.lake.version("model", "churn_training_set")

    # The same join, had somebody forgotten knowledge time.
    asked = training.population(CHURN, fresh.store, [snapshot], history=False)
    leaky = training.features_at(CHURN, fresh.store, asked, history=False).set_index("customer_id")
    assert leaky["customer_activity__sessions_7d"].max() == 10_000
    frame = honest.to_pandas()
    there = (frame["snapshot"] == snapshot) & frame["customer_id"].gt(10)
    ids = [customer for customer in leaky.index if customer <= 10]  # those still subscribed
    planted = frame[there].head(len(ids)).assign(customer_id=ids)
    for column in leaky.columns.intersection(planted.columns).drop("snapshot"):
        planted[column] = leaky.loc[planted["customer_id"], column].to_numpy()
    import pandas as pd

    rows = pa.Table.from_pandas(
        pd.concat([frame, planted])[schema(SPEC).names], schema(SPEC), preserve_index=False
    )
    staging = fresh.lake.stage("model", "churn_training_set", schema(SPEC), WEEKS[:1])
    fresh.lake.write(staging, rows)
    found = audit(fresh.lake, staging, SPEC)
    assert found.broken["features_precede_their_snapshot"] == {WEEKS[0]: len(ids)}, "row by row"
    assert WEEKS[0] in found.bad_days
    assert fresh.lake.version("model", "churn_training_set") == version


def test_a_range_of_cut_offs_gives_the_rows_that_each_gives_alone(home: Home):
    together = training.build(CHURN, home.store, ends(WEEKS), START)
    alone = pa.concat_tables([training.build(CHURN, home.store, ends([week]), START) for week in WEEKS])
    assert training.content_hash(together, CHURN.keys) == training.content_hash(alone, CHURN.keys)


def test_a_cut_off_without_enough_history_says_so(home: Home):
    with pytest.raises(ModelError, match="choose a later one"):
        training.build(CHURN, home.store, ends(["2026-10-05"]), START)


# Online --------------------------------------------------------------------------------------------------


def test_the_online_store_serves_the_newest_values_whatever_day_was_rerun(fresh: Home):
    views = VIEWS
    view = views["customer_value"]
    assert online.fill(fresh.store, views).differing == []
    before = online.read(fresh.store, view, [1, 400])
    assert before[1]["ds"] == DAYS[-1]

    old = [dict(row) | {"orders": 1_000} for row in fresh.rows if row["ds"] == DAYS[20]]
    publish(fresh.lake, old, [DAYS[20]])
    online.fill(fresh.store, views)
    assert online.read(fresh.store, view, [1, 400]) == before, "an older day overwrites nothing"

    corrected = [dict(row) | {"orders": 2_000} for row in fresh.rows if row["ds"] == DAYS[-1]]
    publish(fresh.lake, corrected, [DAYS[-1]])
    latest = online.fill(fresh.store, views)
    assert latest.differing == [] and latest.keys["customer_value"] == 800
    assert online.read(fresh.store, view, [1])[1]["orders"] == 2_000, "a correction arrives"
    (fresh.settings.home / "feast" / "online.db").unlink()
    with open_store(fresh.settings) as store:
        assert online.fill(store, views).differing == [], "a store that was lost is made anew"


@pytest.mark.parametrize("gone", ["from Gold", "for longer than the ttl"])
def test_who_is_gone_from_gold_is_no_longer_served(fresh: Home, gone: str):
    view = VIEWS["customer_value"]
    assert online.fill(fresh.store, VIEWS).removed == dict.fromkeys(VIEWS, 0)
    assert online.read(fresh.store, view, [215])[215]["orders"] is not None
    days = DAYS if gone == "from Gold" else DAYS[-view.ttl_days - 1 :]
    kept = [row for row in fresh.rows if row["ds"] in days and row["customer_id"] != 215]
    publish(fresh.lake, kept, days)
    latest = online.fill(fresh.store, VIEWS)
    assert latest.removed == dict.fromkeys(VIEWS, 1) and latest.differing == []
    assert set(online.read(fresh.store, view, [215])[215].values()) == {None}
    assert online.read(fresh.store, view, [216])[216]["orders"] is not None
    assert latest.keys["customer_value"] == 799


# Model ---------------------------------------------------------------------------------------------------


def test_the_model_beats_both_baselines_and_stays_below_the_bayes_ceiling(trained: Home):
    last = propose(CHURN, trained.lake, trained.registry, WEEKS[-1]).verdict
    ceiling = World(800).bayes_ceiling("2026-10-23", "2026-10-25")
    assert 0.65 < last.candidate["auc"] < ceiling
    assert last.candidate["auc"] > last.rule["auc"] and last.candidate["log_loss"] < last.average["log_loss"]
    assert last.lower_bound > 0.5


def test_training_again_registers_nothing_and_an_old_week_never_takes_the_alias(trained: Home):
    versions, champion = trained.registry.versions(), trained.registry.champion()
    for week in WEEKS:
        again = propose(CHURN, trained.lake, trained.registry, week)
        assert again.reloads and again.provenance.code_version == code_version(CHURN)
        if again.verdict.passed:
            trained.registry.promote(again.version)
    assert trained.registry.versions() == versions and len(versions) == 3
    assert trained.registry.champion() == champion
    assert champion.cut_off == max(v.cut_off for v in versions if v.promoted)


def test_a_run_names_the_data_the_features_and_the_code(trained: Home):
    run = trained.registry.client.get_run(trained.registry.champion().run_id)
    dataset = run.inputs.dataset_inputs[0].dataset
    assert '"delta_table_version": 1' in dataset.source and "churn_training_set" in dataset.source
    assert {"partition", "cut_off", "feature_views", "code_version", "fingerprint"} <= set(run.data.tags)
    assert run.data.metrics["auc"] > run.data.metrics["baseline_rule_auc"]
    plots = {f.path for f in trained.registry.client.list_artifacts(run.info.run_id, "plots")}
    assert plots == {"plots/roc_curve.png", "plots/calibration.png", "plots/feature_importance.png"}
    assert run.info.artifact_uri.startswith("lake:/_models/churn/")  # in the lake, wherever that is by then


def test_with_shuffled_labels_nothing_is_promoted(trained: Home, tmp_path: Path):
    rows, _ = stored(CHURN, trained.lake, WEEKS[-1])
    registry = replace(trained.registry, name="shuffled", artifacts=str(tmp_path / "artifacts"))
    lake = Lake(str(tmp_path / "lake"))
    for seed in range(5):
        labels = np.random.default_rng(seed).permutation(rows["cancelled"].to_numpy(zero_copy_only=False))
        place = rows.schema.get_field_index("cancelled")
        shuffled = rows.set_column(place, "cancelled", pa.array(labels))
        store_set(lake, shuffled.select(schema(SPEC).names).cast(schema(SPEC)), [WEEKS[-1]])
        candidate = propose(CHURN, lake, registry, WEEKS[-1])
        assert not candidate.verdict.passed and candidate.verdict.reasons
    assert registry.champion_or_none() is None


def test_without_a_champion_the_error_says_what_to_run(trained: Home):
    with pytest.raises(ModelError, match=r"materialize \[model, nobody_training_set\]"):
        replace(trained.registry, name="nobody").champion()


# Predictions ---------------------------------------------------------------------------------------------


def test_predictions_are_the_same_again_and_in_a_range(trained: Home):
    champion = trained.registry.champion()
    model = trained.registry.load(champion)
    days = DAYS[10:13]
    together = predict(CHURN, trained.store, model, champion.number, days)
    alone = pa.concat_tables([predict(CHURN, trained.store, model, champion.number, [day]) for day in days])
    assert together.equals(predict(CHURN, trained.store, model, champion.number, days))
    assert together.sort_by([("ds", "ascending"), ("rank", "ascending")]).equals(alone)
    subscribed = {
        r["customer_id"] for r in trained.rows if r["ds"] == days[0] and r["subscription"] == "active"
    }
    first = together.filter(pa.compute.equal(together["ds"], days[0]))
    assert set(first["customer_id"].to_pylist()) == subscribed
    assert sorted(set(first["decile"].to_pylist())) == list(range(1, 11))
