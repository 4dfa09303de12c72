"""The model of docs/own-model.md in a project of its own, and the Gold table that it needs."""

from __future__ import annotations

import random
import re
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from asgard_assets.lake import Lake
from asgard_assets.ml.moments import midnight
from asgard_assets.ml.project import model_in
from asgard_assets.ml.repository import Repository
from asgard_assets.ml.spec import ModelDefinition
from asgard_assets.ml.views import feature_views
from asgard_assets.windows import days_between
from tests.checkout import ROOT

PAGE = (ROOT / "docs" / "own-model.md").read_text()
FILES = {
    place.removeprefix("asgard_assets/"): text
    for text, place in re.findall(r"^```(?:yaml|python)\n(# (\S+)\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
DAYS = days_between("2026-10-05", "2026-11-01")
PRODUCTS = 60
SCHEMA = pa.schema(
    [
        ("product_id", pa.int64()),
        ("store", pa.string()),
        ("units", pa.int64()),
        ("units_7d", pa.float64()),
        ("units_28d", pa.float64()),
        ("price", pa.float64()),
        ("event_timestamp", pa.timestamp("us", "UTC")),
        ("created_at", pa.timestamp("us", "UTC")),
        ("ds", pa.string()),
    ]
)


@dataclass(frozen=True)
class Shop:
    """A project with the page's files."""

    definition: ModelDefinition
    repository: Repository


def project(folder: Path, **changes: str) -> Shop:
    """Write the page's files below a folder; `changes` replaces text in them."""
    for place, text in FILES.items():
        for old, new in changes.items():
            text = text.replace(f"{old}:", f"{old}: {new} #")
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    (folder / "feature_repo").mkdir()
    shutil.copy(ROOT / "feature_repo" / "feature_store.yaml", folder / "feature_repo")
    repository = Repository(folder / "feature_repo", folder / "defs" / "features")
    definition = model_in(folder / "defs" / "model" / "demand", feature_views(repository.views))
    return Shop(definition, repository)


def demand(stores: tuple[str, ...] = ("north",), seed: int = 7) -> list[dict[str, Any]]:
    """A row for each product, store and day. Every seventh is known two days late; some days have none.

    Sales scatter around a level of the product, so that last week alone says less than the last weeks together.
    """
    draw, rows = random.Random(seed), []
    ends = {day: midnight(day) + timedelta(days=1) for day in DAYS}
    for product in range(1, PRODUCTS + 1):
        for store in stores:
            level, swing, sold = draw.uniform(2, 30), 0.0, []
            for number, day in enumerate(DAYS):
                swing = 0.7 * swing + draw.gauss(0, 0.25)
                units = max(0, round(level * (1 + swing) * (1.4 if number % 7 > 4 else 1.0)))
                sold.append(units)
                if (product + number) % 23 == 0:
                    continue
                end = ends[day]
                late = timedelta(days=2 if (product * 3 + number) % 7 == 0 else 0)
                rows.append(
                    {
                        "product_id": product,
                        "store": store,
                        "units": units,
                        "units_7d": float(sum(sold[-7:])),
                        "units_28d": float(sum(sold[-28:])),
                        "price": round(5 + product / 10, 2),
                        "event_timestamp": end,
                        "created_at": end + late,
                        "ds": day,
                    }
                )
    return rows


def publish(lake: Lake, rows: list[dict[str, Any]]) -> None:
    staging = lake.stage("gold", "product_demand", SCHEMA, DAYS)
    lake.write(staging, pa.Table.from_pylist(rows, schema=SCHEMA))
    lake.publish(staging)


def expected(rows: list[dict[str, Any]], week: str, keys: list[str]) -> dict[tuple, tuple]:
    """Training rows by (key, snapshot), calculated anew: label, when it was known, and the three features."""
    end = midnight(week) + timedelta(days=7)
    first = max(end - timedelta(days=21), midnight(DAYS[0]) + timedelta(days=1))
    found = {}
    histories: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        histories.setdefault(tuple(row[key] for key in keys), []).append(row)
    for snapshot in (first + timedelta(days=n) for n in range((end - timedelta(days=7) - first).days + 1)):
        for key, history in histories.items():
            known = [r for r in history if r["event_timestamp"] <= snapshot and r["created_at"] <= snapshot]
            if not any(row["event_timestamp"] == snapshot for row in known):
                continue  # nobody knew of the product on that day
            newest = max(known, key=lambda row: row["event_timestamp"])
            until = snapshot + timedelta(days=7)
            later = [
                r for r in history if snapshot < r["event_timestamp"] <= until and r["created_at"] <= end
            ]
            at = max([snapshot, *(row["created_at"] for row in later)])
            features = (newest["units_7d"], newest["units_28d"], newest["price"])
            found[*key, snapshot] = (float(sum(row["units"] for row in later)), at, *features)
    return found
