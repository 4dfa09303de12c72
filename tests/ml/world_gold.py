"""Gold's customer_metrics made in memory from the demo's world, written through the lake's own primitive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from asgard_assets.lake import Lake
from asgard_assets.ml.moments import midnight
from asgard_assets.windows import days_between
from deployments.local.demo.landing import open_items
from deployments.local.demo.world import World

DAYS = days_between("2026-10-05", "2026-11-01")
SCHEMA = pa.schema(
    [
        ("customer_id", pa.int64()),
        ("orders", pa.int64()),
        ("total_purchases", pa.float64()),
        ("lifetime_value", pa.float64()),
        ("days_since_last_purchase", pa.int64()),
        ("sessions_7d", pa.int64()),
        ("minutes_7d", pa.float64()),
        ("sessions_prev_7d", pa.int64()),
        ("usage_trend", pa.float64()),
        ("usage_slope_14d", pa.float64()),
        ("errors_7d", pa.int64()),
        ("errors_per_session_7d", pa.float64()),
        ("tickets_30d", pa.int64()),
        ("high_tickets_30d", pa.int64()),
        ("high_tickets_14d", pa.int64()),
        ("open_invoices", pa.int64()),
        ("unpaid_amount", pa.float64()),
        ("unpaid_invoices_28d", pa.int64()),
        ("plan", pa.string()),
        ("subscription", pa.string()),
        ("event_timestamp", pa.timestamp("us", "UTC")),
        ("created_at", pa.timestamp("us", "UTC")),
        ("ds", pa.string()),
    ]
)


def gold(users: int = 800, days: Iterable[str] = DAYS, seed: int = 42) -> list[dict[str, Any]]:
    """One row a customer and day, from what the sources say by the end of that day."""
    days = list(days)
    world = World(users, seed)
    usage: dict[date, dict[int, dict[str, Any]]] = {}
    tickets, invoices = defaultdict(list), defaultdict(list)
    plans: dict[int, str] = {}
    for invoice in open_items(world):
        invoices[invoice["user_id"]].append(invoice)
    first = date.fromisoformat(days[0])
    rows = []
    start = first
    for number in range((date.fromisoformat(days[-1]) - start).days + 1):
        day = start + timedelta(days=number)
        usage[day] = {row["user_id"]: row for row in world.usage(day)}
        for ticket in world.tickets(day):
            tickets[ticket["user_id"]].append((day, ticket["severity"]))
        for invoice in world.invoices(day):
            invoices[invoice["user_id"]].append(invoice)
        plans |= {contact["user_id"]: contact["plan"] for contact in world.contacts(day)}
        if day < first:
            continue
        end = midnight(str(day)) + timedelta(days=1)
        for user in range(1, users + 1):
            week = [
                usage[day - timedelta(days=n)][user] for n in range(7) if day - timedelta(days=n) in usage
            ]
            before = [
                usage[day - timedelta(days=n)][user] for n in range(7, 14) if day - timedelta(days=n) in usage
            ]
            sessions, previous = sum(r["sessions"] for r in week), sum(r["sessions"] for r in before)
            unpaid = [i for i in invoices[user] if not i["paid"]]
            recent = [s for d, s in tickets[user] if (day - d).days < 30]
            orders = user % 3
            rows.append(
                {
                    "customer_id": user,
                    "orders": orders,
                    "total_purchases": 20.0 * orders,
                    "lifetime_value": 15.0 * orders,
                    "days_since_last_purchase": number if orders else None,
                    "sessions_7d": sessions,
                    "minutes_7d": sum(r["minutes"] for r in week),
                    "sessions_prev_7d": previous,
                    "usage_trend": (sessions - previous) / (previous + 1) if before else 0.0,
                    "usage_slope_14d": slope([r["sessions"] for r in (week + before)[::-1]]),
                    "errors_7d": sum(r["errors"] for r in week),
                    "errors_per_session_7d": sum(r["errors"] for r in week) / (sessions + 2),
                    "tickets_30d": len(recent),
                    "high_tickets_30d": recent.count("high"),
                    "high_tickets_14d": sum(s == "high" for d, s in tickets[user] if (day - d).days < 14),
                    "open_invoices": len(unpaid),
                    "unpaid_amount": float(sum(i["amount"] for i in unpaid)),
                    "unpaid_invoices_28d": sum(
                        (day - date.fromisoformat(i["issued_at"])).days < 28 for i in unpaid
                    ),
                    "plan": plans.get(user),
                    "subscription": usage[day][user]["subscription"],
                    "event_timestamp": end,
                    "created_at": end,
                    "ds": str(day),
                }
            )
    return rows


def slope(sessions: list[int]) -> float:
    """Of a line through the numbers, relative to their average."""
    n, x = len(sessions), range(len(sessions))
    spread = n * sum(i * i for i in x) - sum(x) ** 2
    if not spread:
        return 0.0
    raw = n * sum(i * y for i, y in zip(x, sessions, strict=True)) - sum(x) * sum(sessions)
    return raw / spread / (sum(sessions) / n + 0.3)


def publish(lake: Lake, rows: list[dict[str, Any]], days: Iterable[str] = DAYS) -> None:
    staging = lake.stage("gold", "customer_metrics", SCHEMA, list(days))
    lake.write(staging, pa.Table.from_pylist(rows, schema=SCHEMA))
    lake.publish(staging)
