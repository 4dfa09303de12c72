"""The churn model's problem: who is asked about, what is predicted, and the tables that hold it.

At a snapshot `s` (midnight, the end of a Gold day) a customer counts if subscribed; the label is whether
the subscription is cancelled within (s, s + 7 days]. A cut-off is the end of a week: training knows
nothing later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from asgard_assets.ml.views import NUMERIC, FeatureViewSpec, feature_views
from asgard_assets.quality.tables import Check, Column, TableSpec

CHURN_VIEWS = ("customer_value", "customer_activity")
GOLD = ("gold", "customer_metrics")
MODEL = "churn"
HORIZON = timedelta(days=7)
WINDOW = timedelta(days=21)
# Known of every customer who is asked about: it is the condition of being asked.
CONDITION = "customer_activity__subscription"
ON_DEMAND = {"spend_per_order__spend_per_order": Column(type="double", description="Average order.")}


def cut_off(partition: str) -> datetime:
    """End of the week that begins on the Monday `partition`."""
    return midnight(partition) + timedelta(days=7)


def midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def day_ending(moment: datetime) -> str:
    """The Gold day whose end is `moment`."""
    return (moment - timedelta(days=1)).date().isoformat()


def churn_views(views: Mapping[str, FeatureViewSpec] | None = None) -> dict[str, FeatureViewSpec]:
    views = views or feature_views()
    return {name: views[name] for name in CHURN_VIEWS}


def feature_columns(views: Mapping[str, FeatureViewSpec] | None = None) -> dict[str, Column]:
    """Columns that Feast returns for the service `churn`, in a fixed order."""
    columns = {
        view.column(name): Column(type=feature.type, description=feature.description)
        for view in churn_views(views).values()
        for name, feature in view.features.items()
    }
    return columns | ON_DEMAND


def model_inputs(views: Mapping[str, FeatureViewSpec] | None = None) -> tuple[list[str], list[str]]:
    """Numeric and categorical columns that the model sees."""
    columns = {n: c for n, c in feature_columns(views).items() if n != CONDITION}
    numeric = [name for name, column in columns.items() if column.type in NUMERIC]
    return numeric, [name for name in columns if name not in numeric]


def training_set() -> TableSpec:
    """One partition a cut-off. Each row carries what the leak checks need to judge it alone."""
    known = {
        f"{view}__{column}": Column(type="timestamp", description=f"{text} of the row that {view} came from.")
        for view in CHURN_VIEWS
        for column, text in (("event_timestamp", "Event time"), ("created_at", "Knowledge time"))
    }
    return TableSpec(
        stage="model",
        name="churn_training_set",
        description="Customers subscribed at each snapshot, their features as known then (Feast's point-in-time join "
        "on event time and knowledge time), and whether they cancelled within 7 days. Written once a cut-off: models "
        "are trained from this table alone, never from Gold again.",
        key=("customer_id", "snapshot"),
        columns=_training_columns(known),
        checks=_training_checks(known),
        tags={"domain": "customer"},
        kinds=("feast", "delta", "duckdb"),
        fresh_hours=8 * 24,
    )


def _training_columns(known: Mapping[str, Column]) -> dict[str, Column]:
    return {
        "customer_id": Column(type="bigint"),
        "snapshot": Column(type="timestamp", description="As of when the features hold."),
        "cancelled": Column(type="boolean", description="Label: cancelled within 7 days after the snapshot."),
        "label_until": Column(type="timestamp", description="End of the label's horizon."),
        "label_known_at": Column(
            type="timestamp", description="When the last row behind the label was known."
        ),
        "cut_off": Column(type="timestamp", description="Nothing in this partition is later."),
        "split": Column(type="string", description="train, validation, or gap (left out between the two)."),
        **feature_columns(),
        **known,
        "ds": Column(
            type="string", description="Partition: the Monday of the week that ends with the cut-off."
        ),
    }


def _training_checks(known: Iterable[str]) -> tuple[Check, ...]:
    precede = " and ".join(f"({c} is null or {c} <= snapshot)" for c in known)
    found = " and ".join(f"{view}__event_timestamp is not null" for view in CHURN_VIEWS)
    return (
        Check(
            name="features_precede_their_snapshot",
            sql=precede,
            description="Row by row: event time and knowledge time of every feature are not after the snapshot.",
        ),
        Check(
            name="labels_end_by_the_cut_off",
            sql="label_until <= cut_off and label_known_at <= cut_off and snapshot < label_until",
            description="Row by row: the label's horizon, and all that it rests on, is not after the cut-off.",
        ),
        Check(
            name="splits_share_no_label",
            sql="max(label_until) filter (where split = 'train') <= min(snapshot) filter (where split = 'validation')"
            " or count(distinct customer_id) filter (where split = 'train')"
            " + count(distinct customer_id) filter (where split = 'validation')"
            " = count(distinct customer_id) filter (where split in ('train', 'validation'))",
            aggregate=True,
            description="Training and validation labels overlap neither in time nor, where they must, in customers.",
        ),
        Check(
            name="both_splits_have_both_outcomes",
            sql="count(distinct cancelled) filter (where split = 'train') = 2"
            " and count(distinct cancelled) filter (where split = 'validation') = 2",
            aggregate=True,
            description="There is something to learn and something to judge by.",
        ),
        Check(
            name="features_were_found",
            sql=found,
            severity="warn",
            description="Rows without a feature row.",
        ),
    )


def predictions() -> TableSpec:
    return TableSpec(
        stage="model",
        name="churn_predictions",
        description="Probability that a subscribed customer cancels within 7 days of the day's end, by the model that is "
        "@champion when the partition is computed. Days before the champion's cut-off are scored with hindsight: they "
        "show how today's champion ranks them, and are no backtest; `model_version` says which model it was.",
        key=("customer_id",),
        columns={
            "customer_id": Column(type="bigint"),
            "churn_probability": Column(type="double", description="Between 0 and 1."),
            "rank": Column(type="bigint", description="1: most likely to cancel on this day."),
            "decile": Column(type="bigint", description="1: the tenth most likely to cancel."),
            "model_version": Column(type="bigint", description="Version of the registered model `churn`."),
            "ds": Column(type="string", description="Day at whose end the features hold."),
        },
        checks=(
            Check(name="probability_is_one", sql="churn_probability >= 0 and churn_probability <= 1"),
            Check(name="names_its_model", sql="model_version > 0"),
            Check(
                name="ranks_without_gaps",
                sql="min(rank) = 1 and max(rank) = count(*) and count(distinct rank) = count(*)",
                aggregate=True,
            ),
        ),
        tags={"domain": "customer"},
        kinds=("mlflow", "scikitlearn", "delta"),
    )
