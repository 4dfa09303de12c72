"""Support tickets, from the pages of the ticket API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_assets.quality.tables import Check
from asgard_assets.transforms.rows import Split, missing, parsed, split, typed
from asgard_assets.transforms.silver import silver

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PAYLOAD = {
    "ticket_id": "bigint",
    "user_id": "bigint",
    "opened_at": "timestamp",
    "severity": "string",
    "topic": "string",
    "resolved": "boolean",
}


@silver(
    inputs=("bronze.tickets",),
    key=("ticket_id",),
    description="One row a support ticket, on the day on which it was opened.",
    columns={
        "ticket_id": "bigint",
        "customer_id": "bigint",
        "opened_at": "timestamp",
        "severity": ("string", "low, normal or high."),
        "topic": "string",
        "resolved": "boolean",
    },
    checks=(
        Check(name="severity_is_known", sql="severity in ('low', 'normal', 'high')"),
        Check(name="customer_is_set", sql="customer_id is not null"),
    ),
    max_rejected=0.25,
)
def tickets(tickets: DataFrame) -> Split:
    """One ticket may come on two pages: the first stays, by request and place in it."""
    items = parsed(tickets.where("payload is not null"), "payload", list(PAYLOAD))
    rows = typed(items, PAYLOAD, record=("request_id", "item_index", "payload"))
    return split(rows, missing("ticket_id", "user_id", "opened_at", "severity"), key=("ticket_id",)).select(
        "ticket_id", "user_id as customer_id", "opened_at", "severity", "topic", "resolved"
    )
