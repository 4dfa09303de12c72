"""Small Silver tables in a lake, and dbt run on them as a process of its own."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from asgard_assets.components.dbt.manifest import executable
from asgard_assets.lake import Lake, Published
from tests.checkout import ROOT
from tests.patience import patience

PROJECT = ROOT / "dbt_project"
DAYS = ("2026-10-05", "2026-10-06", "2026-10-07")
_TIME = pa.timestamp("us", "UTC")
SILVER = {
    "customers": {
        "customer_id": pa.int64(),
        "plan": pa.string(),
        "country": pa.string(),
        "valid_from": pa.date32(),
    },
    "purchases": {
        "purchase_id": pa.int64(),
        "customer_id": pa.int64(),
        "price": pa.float64(),
        "purchased_at": _TIME,
        "returned_at": _TIME,
    },
    "usage": {
        "customer_id": pa.int64(),
        "sessions": pa.int32(),
        "minutes": pa.float64(),
        "errors": pa.int32(),
        "subscription": pa.string(),
    },
    "tickets": {"ticket_id": pa.int64(), "customer_id": pa.int64(), "severity": pa.string()},
    "invoices": {
        "invoice_id": pa.int64(),
        "customer_id": pa.int64(),
        "amount": pa.decimal128(12, 2),
        "issued_at": pa.date32(),
        "paid": pa.bool_(),
    },
}


def put(lake: Lake, table: str, days: Iterable[str], rows: list[dict[str, Any]]) -> Published:
    """Publish rows (each with its `ds`) as the Silver table's content of `days`."""
    schema = pa.schema([*SILVER[table].items(), ("ds", pa.string())])
    staging = lake.stage("silver", table, schema, list(days))
    lake.write(staging, pa.Table.from_pylist(rows, schema))
    return lake.publish(staging)


def put_silver(lake: Lake, subscription: str = "active") -> None:
    """Three days: customer 1 changes plan on the second, customer 2 arrives on the third, 3 buys nothing."""
    first, second, third = DAYS
    put(
        lake,
        "customers",
        DAYS,
        [
            {
                "customer_id": 1,
                "plan": "basic",
                "country": "NO",
                "valid_from": dt.date(2026, 10, 5),
                "ds": first,
            },
            {
                "customer_id": 3,
                "plan": "basic",
                "country": None,
                "valid_from": dt.date(2026, 10, 5),
                "ds": first,
            },
            {
                "customer_id": 1,
                "plan": "premium",
                "country": "NO",
                "valid_from": dt.date(2026, 10, 6),
                "ds": second,
            },
            {
                "customer_id": 2,
                "plan": "basic",
                "country": "SE",
                "valid_from": dt.date(2026, 10, 7),
                "ds": third,
            },
        ],
    )
    bought = dt.datetime(2026, 9, 30, 12, tzinfo=dt.UTC)
    put(
        lake,
        "purchases",
        DAYS,
        [
            {"purchase_id": 1, "customer_id": 1, "price": 0.1, "purchased_at": bought, "ds": first},
            {"purchase_id": 2, "customer_id": 1, "price": 0.2, "purchased_at": bought, "ds": second},
            # Nobody is customer 9: a purchase alone makes no row.
            {"purchase_id": 3, "customer_id": 9, "price": 5.0, "purchased_at": bought, "ds": first},
        ],
    )
    put(
        lake,
        "usage",
        DAYS,
        [
            {
                "customer_id": 1,
                "sessions": 2,
                "minutes": 1.5,
                "errors": 0,
                "subscription": "active",
                "ds": day,
            }
            for day in DAYS[:2]
        ]
        + [
            {
                "customer_id": 1,
                "sessions": 0,
                "minutes": 0,
                "errors": 1,
                "subscription": subscription,
                "ds": third,
            }
        ],
    )
    put(lake, "tickets", DAYS, [{"ticket_id": 1, "customer_id": 1, "severity": "high", "ds": second}])
    put(
        lake,
        "invoices",
        DAYS,
        [
            {
                "invoice_id": 1,
                "customer_id": 1,
                "amount": Decimal("10.10"),
                "issued_at": dt.date(2026, 10, 5),
                "paid": False,
                "ds": first,
            },
            {
                "invoice_id": 2,
                "customer_id": 1,
                "amount": Decimal("7.00"),
                "issued_at": dt.date(2026, 10, 7),
                "paid": True,
                "ds": third,
            },
        ],
    )


def copy_project(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """The project's own dbt project in `folder`, with further files by their path in it."""
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("target", "logs"))
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def start_dbt(
    lake: Lake, target: Path, *args: str, days: tuple[str, str] | None = None, project: Path = PROJECT
) -> subprocess.Popen[str]:
    """dbt as anybody would start it, from a folder that is not the project's."""
    target.mkdir(parents=True, exist_ok=True)
    given = f"lake: {json.dumps(lake.root)}"
    if days:
        given += f', min_date: "{days[0]}", max_date: "{days[1]}"'
    command = [executable(), *args, "--project-dir", str(project), "--profiles-dir", str(project)]
    command += ["--target-path", str(target), "--log-path", str(target), "--vars", f"{{{given}}}"]
    command += ["--no-version-check", "--no-use-colors"]
    return subprocess.Popen(
        command, cwd=target, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_dbt(lake: Lake, target: Path, *args: str, **options: Any) -> tuple[int, str]:
    """Exit code and output of one dbt command."""
    process = start_dbt(lake, target, *args, **options)
    output, _ = process.communicate(timeout=patience(400))
    return process.returncode, output


def version_elsewhere(lake: Lake, name: str) -> int:
    """The Gold table's version as delta-rs sees it in another process; -1 where there is none."""
    code = (
        "import sys; from deltalake import DeltaTable as T; p = sys.argv[1]; "
        "print(T(p).version() if T.is_deltatable(p) else -1)"
    )
    command = [sys.executable, "-c", code, lake.path("gold", name)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def rows(lake: Lake, table: str, columns: str = "*", order: str = "all") -> list[tuple[Any, ...]]:
    with lake.connect() as connection:
        return connection.execute(f"select {columns} from gold.{table} order by {order}").fetchall()
