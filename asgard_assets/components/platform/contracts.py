"""What tables made through the API have in common, whatever runs their SQL."""

from typing import Any

import dagster as dg
from pydantic import Field

from asgard_assets import strangers
from asgard_assets.quality.tables import Check, TableSpec
from asgard_assets.transforms.managed import Revision, Transform

REVISION = "revision"
"""Metadata of an asset that was made through the API: the number of its definition."""
_HAS_ROWS = Check(
    name="has_rows",
    sql="count(*) > 0",
    aggregate=True,
    severity="warn",
    description="The query gives at least one row.",
)


class QueryTable(TableSpec):
    """A table that is a query's result, and so has no key unless the request names one."""

    key: tuple[str, ...] = Field(default=(), description="None: the rows are what the query gives.")

    @property
    def all_checks(self) -> tuple[Check, ...]:
        return super().all_checks if self.key else self.checks


class Which(dg.Config):
    """Which revision a run builds."""

    revision: int = Field(default=0, description="Number of the definition's revision; 0: the newest.")


def spec_of(transform: Transform) -> TableSpec:
    """The contract of the table."""
    return QueryTable(
        stage=transform.stage,
        name=transform.name,
        description=transform.description or "The result of a query that was sent to the API.",
        key=transform.key,
        checks=(_HAS_ROWS,),
        tags={"made_by": "api", "workspace": tag_of(transform.workspace)},
        kinds=(transform.engine, "sql", "delta"),
        fresh_hours=24 * 365,
        retries=0,
    )


def deps_of(transform: Transform) -> list[dg.AssetKey]:
    """What it is made of: tables, and folders of landing files."""
    found = [dg.AssetKey(view.table.split("/")) for view in transform.reads if view.table]
    found += [dg.AssetKey(["landing", *view.folder.split("/")]) for view in transform.reads if view.folder]
    return [key for key in dict.fromkeys(found) if key != dg.AssetKey([transform.stage, transform.name])]


def shown(revision: Revision) -> dict[str, Any]:
    """What the catalog shows of a definition."""
    return {
        REVISION: revision.number,
        "sql": dg.MetadataValue.md(strangers.block(revision.transform.sql, "sql")),
    }


def op_name(transform: Transform) -> str:
    """Name of the step, for its configuration."""
    return f"{transform.stage}_{transform.name}"


def tag_of(text: str) -> str:
    """A workspace's name as a value that Dagster takes for a tag."""
    plain = "".join(
        letter if letter.isalnum() and letter.isascii() or letter in "._-" else "_" for letter in text
    )
    return plain.strip("._-")[:63]
