"""Small Bronze tables for Silver's tests, published the way ingestion does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from asgard_assets.lake import Lake

Rows = Sequence[Mapping[str, Any]]


def put(lake: Lake, name: str, days: Mapping[str, Rows], columns: Sequence[str]) -> None:
    """Publish one Bronze table of text columns, with the file columns that the autoloader adds."""
    rows = [
        {**{c: _text(row.get(c)) for c in columns}, "_file": f"{name}.csv", "_row": n, "ds": day}
        for day, several in days.items()
        for n, row in enumerate(several)
    ]
    fields = [pa.field(c, pa.string()) for c in columns]
    schema = pa.schema([*fields, ("_file", pa.string()), ("_row", pa.int64()), ("ds", pa.string())])
    staging = lake.stage("bronze", name, schema, list(days))
    lake.write(staging, pa.Table.from_pylist(rows, schema))
    lake.publish(staging)


def put_usage(lake: Lake, days: Mapping[str, Sequence[str | None]]) -> None:
    """Publish API answers: a body for each success, None for a 404."""
    rows = [
        {
            "request_id": f"{day}-{n}",
            "user_id": n,
            "body": body,
            "success": body is not None,
            "outcome": "success" if body is not None else "permanent",
            "ds": day,
        }
        for day, bodies in days.items()
        for n, body in enumerate(bodies, 1)
    ]
    texts = ("request_id", "body", "outcome", "ds")
    schema = pa.schema([*((c, pa.string()) for c in texts), ("user_id", pa.int64()), ("success", pa.bool_())])
    staging = lake.stage("bronze", "usage", schema, list(days))
    lake.write(staging, pa.Table.from_pylist(rows, schema))
    lake.publish(staging)


def usage_body(user: int, day: str, **changes: Any) -> str:
    """One answer of the demo's usage endpoint."""
    body = {"user_id": user, "date": day, "sessions": 3, "minutes": 41.5, "features_used": 5, "errors": 0}
    return json.dumps({**body, "subscription": "active", **changes})


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
