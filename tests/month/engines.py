"""The tables of the month that real engines make: an API's orders, Silver of them by Spark, Gold of that by dbt."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import dagster as dg
from dagster_dbt import DbtProject
from dagster_dbt.components.dbt_component_utils import DagsterDbtComponentTranslatorSettings

from asgard_assets.components.api import ApiIngestModel, api_asset, api_schedule
from asgard_assets.components.dbt import DbtModels
from asgard_assets.components.silver import silver_asset
from asgard_assets.transforms.silver import silver
from asgard_assets.windows import Calendar
from tests.checkout import ROOT
from tests.fakes.dbt_process import write_project

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from tests.month.tables import Rows

LOOKBACK, HOUR = 2, 4
"""So many days before the last are asked for again, each day at this hour."""
ORDERS = dg.AssetKey(["bronze", "orders"])
MODEL = """{{ config(materialized='delta', partition_by='ds', unique_key=['id']) }}
select id, amount * 2 as amount, ds from {{ source('silver', 'orders') }} where {{ in_windows() }}
"""
YAML = """version: 2
sources: [{name: silver, tables: [{name: orders}]}]
models:
  - name: orders
    description: Orders, doubled.
    columns:
      - {name: id, data_type: bigint, description: Number., data_tests: [not_null]}
"""


@dataclass
class OrdersApi:
    """`GET /orders?day=`: what it has of a day now. It is asked by the API engine."""

    url: str = ""
    rows: dict[str, Rows] = field(default_factory=dict[str, "Rows"])

    def of(self, day: str) -> Rows:
        """Of a day that the story does not tell of, one row."""
        return self.rows.get(day, [(1, 1)])


@contextmanager
def orders_api() -> Iterator[OrdersApi]:
    api = OrdersApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            [day] = parse_qs(urlsplit(self.path).query)["day"]
            body = json.dumps({"data": [{"id": id, "amount": amount} for id, amount in api.of(day)]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def pulls(calendar: Calendar, after: datetime, until: datetime) -> list[datetime]:
    """When the API is to be asked, between two moments: each day at the hour."""
    zone = ZoneInfo(str(calendar.zone))
    days = calendar.overlapping(after - timedelta(days=1), until)
    hours = [datetime.fromisoformat(f"{day.key}T{HOUR:02}:00").replace(tzinfo=zone) for day in days]
    return [hour for hour in hours if after < hour <= until]


def asked_for(calendar: Calendar, pull: datetime) -> list[str]:
    """The days that a pull asks for."""
    last = calendar.after(calendar.key_at(pull), -1)
    days = calendar.between(calendar.after(last, -LOOKBACK), last)
    return [day for day in days if calendar.has(calendar.window(day))]


def api_model(url: str) -> ApiIngestModel:
    document: Mapping[str, Any] = {
        "name": "orders",
        "kind": "events",
        "lookback_days": LOOKBACK,
        "form": {"type": "pull", "items": "data", "pagination": {"type": "none"}},
        "endpoint": {"base_url": url, "path": "/orders", "query": {"day": "{partition.key}"}},
        "sink": {"table": "bronze/orders"},
        "quality": {"description": "Orders."},
    }
    pull = {"every": "day", "at": f"{HOUR:02}:00"}
    return ApiIngestModel.model_validate({"source": document, "pull": pull})


def spark_asset(during: Callable[[str], None]) -> dg.AssetsDefinition:
    """Silver: the items as rows."""

    @silver(
        inputs=("bronze.orders",),
        key=("id",),
        columns={"id": "bigint", "amount": "bigint"},
        description="Orders.",
    )
    def orders(orders: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        during("silver/orders")
        read = [
            F.get_json_object("payload", f"$.{name}").cast("bigint").alias(name) for name in ("id", "amount")
        ]
        return orders.where("success").select(*read, "ds")

    return silver_asset(orders)


def dbt_definitions(folder: Path) -> dg.Definitions:
    """Gold: a dbt project of one model."""
    macros = ROOT / "deployments" / "project" / "dbt_project" / "macros" / "window.sql"
    files = {"models/orders.sql": MODEL, "models/orders.yml": YAML, "macros/window.sql": macros.read_text()}
    project = write_project(folder, files) if not folder.exists() else folder
    settings = DagsterDbtComponentTranslatorSettings(enable_code_references=False)
    component = DbtModels(project=DbtProject(project), translation_settings=settings)
    return component.build_defs(dg.ComponentTree.for_test().load_context)


def definitions(api: OrdersApi, folder: Path, during: Callable[[str], None]) -> dg.Definitions:
    model = api_model(api.url)
    schedule = api_schedule(model)
    assert schedule is not None
    made = dg.Definitions(assets=[api_asset(model), spark_asset(during)], schedules=[schedule])
    return dg.Definitions.merge(made, dbt_definitions(folder))
