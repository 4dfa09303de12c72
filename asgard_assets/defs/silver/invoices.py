"""Invoices, from the CSV and JSON-lines files that billing drops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_assets.quality.tables import Check
from asgard_assets.transforms.rows import Split, missing, split, typed
from asgard_assets.transforms.silver import silver

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FILE = {
    "invoice_id": "bigint",
    "user_id": "bigint",
    "amount": "decimal(12,2)",
    "currency": "string",
    "discount": "double",
    "issued_at": "date",
    "due_at": "date",
    "paid": "boolean",
}


@silver(
    inputs=("bronze.invoices",),
    key=("invoice_id",),
    description="One row an invoice, on the day on which billing delivered it.",
    columns={
        "invoice_id": "bigint",
        "customer_id": "bigint",
        "amount": ("decimal(12,2)", "In `currency`, discount not subtracted."),
        "currency": ("string", "ISO 4217 code."),
        "discount": ("double", "In `currency`; null where the file had no such column."),
        "issued_at": "date",
        "due_at": "date",
        "paid": "boolean",
    },
    checks=(
        Check(name="amount_is_plausible", sql="amount between 0 and 1000000"),
        Check(name="currency_is_a_code", sql="regexp_full_match(currency, '[A-Z]{3}')"),
        Check(name="due_after_issued", sql="due_at is null or due_at >= issued_at", severity="warn"),
    ),
    max_rejected=0.25,
)
def invoices(invoices: DataFrame) -> Split:
    """Column `discount` came on the second day; before it, it is null."""
    rules = [
        *missing("invoice_id", "user_id", "amount", "currency", "issued_at", "paid"),
        ("amount is negative", "amount < 0"),
    ]
    return split(typed(invoices, FILE), rules, key=("invoice_id",)).select(
        "invoice_id",
        "user_id as customer_id",
        "amount",
        "currency",
        "discount",
        "issued_at",
        "due_at",
        "paid",
    )
