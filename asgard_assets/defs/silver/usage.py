"""How each customer used the product on each day, from the API's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_assets.quality.tables import Check
from asgard_assets.transforms.rows import Split, missing, parsed, split, typed
from asgard_assets.transforms.silver import silver

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BODY = {
    "user_id": "bigint",
    "date": "date",
    "sessions": "int",
    "minutes": "double",
    "features_used": "int",
    "errors": "int",
    "subscription": "string",
}


@silver(
    inputs=("bronze.usage",),
    key=("customer_id",),
    description="One row a customer and day: sessions, minutes, errors, and whether the subscription is on.",
    columns={
        "customer_id": "bigint",
        "usage_date": ("date", "Day of use; always the day `ds`."),
        "sessions": "int",
        "minutes": "double",
        "features_used": "int",
        "errors": ("int", "Errors that the customer ran into."),
        "subscription": ("string", "active or cancelled."),
    },
    checks=(
        Check(name="usage_is_plausible", sql="sessions between 0 and 1000 and minutes between 0 and 1440"),
        Check(name="subscription_is_known", sql="subscription in ('active', 'cancelled')"),
        Check(name="most_customers_have_usage", sql="count(*) >= 10", aggregate=True, severity="warn"),
    ),
)
def usage(usage: DataFrame) -> Split:
    """Only successful answers carry rows: a 404 is a customer without data, not a bad row."""
    answers = parsed(usage.where("success"), "body", list(BODY))
    rows = typed(answers, BODY, record=("request_id", "body"))
    rules = [
        *missing("user_id", "sessions", "minutes", "features_used", "errors", "subscription"),
        ("date is not the day asked for", "date is null or date <> to_date(ds)"),
    ]
    return split(rows, rules, key=("user_id",)).select(
        "user_id as customer_id",
        "date as usage_date",
        "sessions",
        "minutes",
        "features_used",
        "errors",
        "subscription",
    )
