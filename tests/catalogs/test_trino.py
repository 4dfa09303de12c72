"""Trino reads a published table through Delta and through the Iceberg catalog: the same rows, nulls and instants."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from asgard_assets.catalogs.registration import catalog_of
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.catalogs.readers import DAYS, TABLE, by_delta, publish, row
from tests.servers.nessie import nessie
from tests.servers.s3 import s3
from tests.servers.trino import query, trino

pytestmark = pytest.mark.servers
COLUMNS = "id, name, amount, ratio, small, good, at, day, raw, tags, inside.a, ds"


def test_both_sides_agree_after_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with s3(tmp_path / "s3", "lake") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "trino").mkdir()
        with (
            nessie(tmp_path / "nessie", server, "s3://lake/iceberg") as address,
            trino(tmp_path / "trino", server, "s3://lake", address) as port,
        ):
            lake = Lake("s3://lake/delta", server.endpoint, server.region)
            catalog = catalog_of(Settings(iceberg=address), lake)

            def seen(side: str) -> list[tuple[Any, ...]]:
                return query(port, f"select {COLUMNS} from {side}.gold.orders order by ds, id")

            publish(lake, DAYS[:2], [row(n, day) for day in DAYS[:2] for n in range(20)])
            catalog.follow(lake, TABLE)
            query(port, "create schema lake.gold with (location = 's3://lake/delta/gold')")
            query(
                port, f"call lake.system.register_table('gold', 'orders', '{lake.path(*TABLE.split('/'))}')"
            )
            _agree(lake, seen("lake"), seen("iceberg"), 40)

            publish(lake, DAYS[1:], [row(n, day) for day in DAYS[1:] for n in range(3)])
            catalog.follow(lake, TABLE)
            _agree(lake, seen("lake"), seen("iceberg"), 26)


def _agree(lake: Lake, delta: list[tuple[Any, ...]], iceberg: list[tuple[Any, ...]], count: int) -> None:
    names = [name.strip() for name in COLUMNS.split(",")]
    wanted = [
        tuple({**each, "inside.a": (each["inside"] or {}).get("a")}[name] for name in names)
        for each in by_delta(lake)
    ]
    assert iceberg == wanted and len(wanted) == count
    assert delta == [tuple(map(_in_milliseconds, each)) for each in wanted]


def _in_milliseconds(value: Any) -> Any:
    """As Trino's reader of Delta gives moments."""
    return (
        value.replace(microsecond=value.microsecond // 1000 * 1000) if isinstance(value, datetime) else value
    )
