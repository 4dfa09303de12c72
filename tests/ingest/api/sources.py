"""Sources for tests: the smallest row-driven and pull ones, and users to make rows of."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake

USAGE: dict[str, Any] = {
    "name": "usage",
    "form": {
        "type": "row",
        "rows": {
            "query": "select distinct id as user_id from bronze.users where ds <= $ds",
            "reads": ["bronze/users"],
            "key": {"user_id": "bigint"},
        },
    },
    "endpoint": {
        "base_url": "${TEST_API}",
        "path": "/v1/users/{row.user_id}/usage",
        "query": {"date": "{partition.key}"},
    },
    "auth": {"type": "bearer", "token": "env:TEST_TOKEN"},
    "retry": {"attempts": 2, "backoff_seconds": 0.01},
    "sink": {"table": "bronze/usage"},
    "quality": {"description": "Usage a user and day.", "min_success": 0.1},
}
TICKETS: dict[str, Any] = USAGE | {
    "name": "tickets",
    "form": {
        "type": "pull",
        "items": "data",
        "pagination": {"type": "page", "size": 2, "pages": "pages"},
    },
    "endpoint": {"base_url": "${TEST_API}", "path": "/v1/tickets", "query": {"date": "{partition.key}"}},
    "sink": {"table": "bronze/tickets"},
    "quality": {"description": "Tickets of a day."},
}


def source(base: dict[str, Any], **changes: Any) -> ApiSource:
    return ApiSource.model_validate(base | changes)


def put_users(lake: Lake, count: int, day: str = "2026-10-05") -> None:
    """Publish users 1 … count as known on `day`."""
    rows = pa.table(
        {"id": pa.array(range(1, count + 1), pa.int64()), "ds": pa.array([day] * count, pa.string())}
    )
    staging = lake.stage("bronze", "users", rows.schema, [day])
    lake.write(staging, rows)
    lake.publish(staging)
