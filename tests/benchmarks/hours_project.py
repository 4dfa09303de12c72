"""A project whose tables have hours in each stage: files, Silver, dbt, features; and a table of days that reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.end_to_end.homes import BIN

_CHANGES = {
    "shop/defs/bronze/orders/defs.yaml": (("  name: orders\n", "  name: orders\n  every: hour\n"),),
    "shop/defs/silver/orders.py": (("    description=", "    every='hour',\n    description="),),
    "shop/defs/features/product_sales/defs.yaml": (
        ("  name: product_sales\n", "  name: product_sales\n  every: hour\n"),
    ),
    "dbt_project/models/gold/product_sales.sql": (
        ("partition_by='ds'", "partition_by='ds', meta={'dagster': {'every': 'hour'}}"),
    ),
}
"""What is written into the files that `asgard init` makes."""


def write(folder: Path) -> Path:
    """The project's folder. Raises AssertionError where `asgard init` makes other files than this was written for."""
    made = subprocess.run(
        [BIN / "asgard", "init", "shop", "--folder", folder], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    project = folder / "shop"
    for name, changes in _CHANGES.items():
        text = (project / name).read_text()
        for old, new in changes:
            assert old in text, f"{name}: {old!r} is not there"
            text = text.replace(old, new)
        (project / name).write_text(text)
    return project
