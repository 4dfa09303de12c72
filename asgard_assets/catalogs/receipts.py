"""What a follow-up did with a table, and the receipt of it in the lake: how far each catalog is, without asking it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from asgard_assets.lake import Lake

Kind = Literal["iceberg", "hive"]
Done = Literal["current", "copied", "followed", "registered", "held", "dropped", "absent"]


@dataclass(frozen=True)
class Followed:
    """What a follow-up did with one table. `version` is the Delta version that the catalog has now, -1 for none.

    `done`: current (nothing to do), copied (all rows), followed (what had changed), registered (its name or columns were
    written), held (on a branch, as Delta version `held`, until a person publishes it), dropped (the Delta table is gone), absent (neither has it).
    """

    table: str
    done: Done
    version: int
    partitions: int = 0
    rows: int = 0
    seconds: float = 0.0
    held: int = -1


class Catalog(Protocol):
    """A catalog that follows tables of a lake. Each method raises CatalogError where it is away or refuses."""

    @property
    def kind(self) -> Kind: ...

    @property
    def place(self) -> str:
        """Which catalog it is: see `place_of`."""
        ...

    def version(self, table: str) -> int:
        """The Delta version that the catalog has of the table; -1 where it has none."""
        ...

    def tables(self) -> list[str]:
        """The tables of the catalog that come from a lake, as stage/name."""
        ...

    def follow(self, lake: Lake, table: str) -> Followed:
        """Bring the catalog to the newest version of the Delta table, and leave a receipt."""
        ...


def place_of(address: str) -> str:
    """A short name of the catalog at an address, which may hold a login: receipts of another catalog say nothing of it."""
    return hashlib.sha256(address.encode()).hexdigest()[:12]


def note(lake: Lake, catalog: Catalog, found: Followed) -> None:
    """Leave the receipt, also where there was nothing to do: a process may have ended right before it."""
    path = f"{folder(catalog.kind)}/{found.table}.json"
    if found.done == "absent":
        lake.delete(path)
        return
    receipt = {name: getattr(found, name) for name in ("version", "done", "partitions", "rows", "held")}
    lake.put(path, json.dumps(receipt | {"place": catalog.place}).encode())


def receipts(lake: Lake, kind: Kind) -> dict[str, dict[str, Any]]:
    """What was done last with each table, as the lake remembers it."""
    return {table: receipt for table in noted(lake, kind) if (receipt := receipt_of(lake, kind, table))}


def receipt_of(lake: Lake, kind: Kind, table: str) -> dict[str, Any] | None:
    """What was done last with this table; None where nothing was."""
    try:
        return json.loads(lake.get(f"{folder(kind)}/{table}.json"))
    except FileNotFoundError:
        return None


def noted(lake: Lake, kind: Kind) -> list[str]:
    """Tables that have a receipt: two requests and one for each stage."""
    return [
        f"{stage}/{name.removesuffix('.json')}"
        for stage in lake.folders(folder(kind))
        for name in lake.names(f"{folder(kind)}/{stage}")
        if name.endswith(".json")
    ]


def folder(kind: Kind) -> str:
    return f"_catalogs/{kind}"
