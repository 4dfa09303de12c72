"""Who asks for each asset, and what nobody asks for."""

from __future__ import annotations

from typing import Any

import dagster as dg

from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.definitions import defs
from asgard_assets.operations.asked import asked_by, unasked
from tests.ingest.api.sources import TICKETS, source


def test_something_asks_for_every_asset_of_the_project():
    asked = asked_by(defs())
    assert {name for name, by in asked.items() if not by} == set()
    assert asked["bronze/tickets"] == ["schedule pull_tickets"]
    assert asked["bronze/invoices"] == ["sensor invoices_files"]
    assert asked["airbyte/users"] == ["schedule pull_airbyte_demo_faker"]
    assert asked["silver/tickets"] == ["automation"]


def test_a_source_that_nobody_asks_for_is_named_with_what_waits_for_it():
    @dg.asset(key=["silver", "orders"], deps=[["bronze", "tickets"]])
    def below() -> None: ...

    resources: dict[str, Any] = dict.fromkeys(("lake", "spark", "step_launcher"))
    assets = [api_asset(ApiIngestModel(source=source(TICKETS))), below]
    assert unasked(dg.Definitions(assets=assets, resources=resources)) == {
        "bronze/tickets": ["silver/orders"],
        "silver/orders": [],
    }
