"""[model, churn_model]: train on a stored cut-off, judge, register; `@champion` moves only when the check passes."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
from collections.abc import Iterator

import dagster as dg

from asgard_assets.components.failures import clear_failures
from asgard_assets.components.partitions import weekly
from asgard_assets.components.tables import Yielded, days_of, table_asset
from asgard_assets.ml import plots
from asgard_assets.ml.candidate import Candidate, propose
from asgard_assets.quality.tables import Check, Column, TableSpec
from asgard_assets.resources.lake import LakeResource
from asgard_assets.resources.mlflow import ModelRegistryResource

SPEC = TableSpec(
    stage="model",
    name="churn_model",
    description="A logistic regression for each cut-off, registered in MLflow as `churn` with its training set, metrics and "
    "plots. `@champion` follows only a candidate that beats the champion so far and two naive baselines on new data.",
    key=("cut_off",),
    columns={
        "cut_off": Column(type="timestamp", description="Nothing that the model learned from is later."),
        "version": Column(type="bigint", description="Version of the registered model `churn`."),
        "auc": Column(type="double", description="On the validation snapshots."),
    },
    checks=(
        Check(
            name="reloads_and_scores_alike",
            sql="reloaded probability = trained probability",
            description="The registered model, loaded from the registry, gives the probabilities that were judged.",
        ),
        Check(
            name="beats_champion_and_baseline",
            sql="log loss < champion, average; auc > usage rule, chance",
            severity="warn",
            description="On the same new validation rows. Where it fails the champion stays, and goes on predicting.",
        ),
    ),
    tags={"domain": "customer"},
    kinds=("mlflow", "scikitlearn"),
    fresh_hours=8 * 24,
)
KEY = dg.AssetKey(SPEC.asset_key)
CHECKS = [
    dg.AssetCheckSpec(c.name, asset=KEY, description=c.description, blocking=c.severity == "error")
    for c in SPEC.checks
]


@table_asset(
    SPEC,
    name="churn_model",
    deps=[dg.AssetKey(["model", "churn_training_set"])],
    partitions_def=weekly(),
    automation=dg.AutomationCondition.on_missing(),
    extra_metadata={"dagster/uri": "models:/churn", "dagster/table_name": "model.churn_model"},
    checks=CHECKS,
)
def churn_model(
    context: dg.AssetExecutionContext, lake: LakeResource, mlflow: ModelRegistryResource
) -> Iterator[Yielded]:
    with clear_failures():
        registry = mlflow.registry
        candidates = []
        for week in days_of(context):
            candidate = propose(lake.lake, registry, week)
            if candidate.verdict.passed and candidate.reloads:
                registry.promote(candidate.version)
            candidates.append(candidate)
            context.add_asset_metadata(_metadata(candidate), asset_key=KEY, partition_key=week)
    failing = {c.partition: c.verdict.reasons for c in candidates if not c.verdict.passed}
    broken = [c.partition for c in candidates if not c.reloads]
    yield dg.AssetCheckResult(
        passed=not broken,
        asset_key=KEY,
        check_name="reloads_and_scores_alike",
        metadata={"failing": dg.MetadataValue.json(broken), "partitions": len(candidates)},
    )
    yield dg.AssetCheckResult(
        passed=not failing,
        asset_key=KEY,
        check_name="beats_champion_and_baseline",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"failing": dg.MetadataValue.json(failing), "partitions": len(candidates)},
    )
    champion = registry.champion_or_none()
    pictures = {n: dg.MetadataValue.md(plots.markdown(n, png)) for n, png in candidates[-1].pictures.items()}
    shown = {
        "champion_version": champion.number if champion else "none",
        "comparison": dg.MetadataValue.md(candidates[-1].verdict.markdown()),
    }
    yield dg.MaterializeResult(asset_key=KEY, metadata=shown | pictures)


def _metadata(candidate: Candidate) -> dict[str, object]:
    scores = candidate.verdict.candidate
    return {
        # A registered model is one row of the registry for each cut-off.
        "dagster/partition_row_count": 1,
        "model_version": candidate.version.number,
        "mlflow_run_id": candidate.version.run_id,
        "training_set_version": candidate.provenance.table_version,
        "auc": scores.auc,
        "average_precision": scores.average_precision,
        "brier": scores.brier,
        "log_loss": scores.log_loss,
        "promoted": candidate.verdict.passed and candidate.reloads,
        "why_not": "; ".join(candidate.verdict.reasons) or "-",
    }
