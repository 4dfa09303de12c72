"""A code location for the benchmark of small jobs: an API source of 100 rows, and an asset that does nothing."""

import dagster as dg

from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.components.partitions import daily
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.resources.environment import resources

ROWS = {
    "query": "select range as id from range(100)",
    "reads": ["bronze/orders_wanted"],
    "key": {"id": "bigint"},
}
SOURCE = {
    "name": "orders",
    "form": {"type": "row", "rows": ROWS},
    "endpoint": {"base_url": "${ORDERS_API}", "path": "/orders/{row.id}"},
    "sink": {"table": "bronze/orders"},
    "quality": {"description": "Orders."},
}


@dg.asset(partitions_def=daily())
def empty() -> None:
    """Nothing."""


defs = dg.Definitions(
    assets=[empty, api_asset(ApiIngestModel(source=ApiSource.model_validate(SOURCE)))],
    resources=resources(),
    executor=dg.in_process_executor,
)
