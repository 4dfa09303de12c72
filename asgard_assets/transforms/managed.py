"""Tables that are made through the API: their definitions, as immutable revisions in the lake.

    <lake>/_managed/transforms/<table>.<number>.json

The newest revision of a table is its definition. A writer creates the next number, and only one can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from asgard_assets.lake.store import Store
from asgard_assets.quality.tables import Model
from asgard_assets.revisions import NAME, Numbered, Revisions

FOLDER = "_managed/transforms"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Memory = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}[kmgKMG]$")]


class View(Model):
    """Something that the SQL reads, under a name: a table of the lake, or a folder of landing files."""

    name: str = Field(pattern=r"^[a-z_][a-z0-9_]{0,199}$", description="Name of the view in the SQL.")
    table: str = Field(default="", description="Table of the lake, as stage/name.")
    folder: str = Field(default="", description="Folder of files below the landing root.")


class Step(Model):
    """One statement. The last one has no view: it is the table's rows."""

    sql: str = Field(description="A checked query.")
    view: str = Field(default="", description="Temporary view that the query becomes.")


class Size(Model):
    """How large the Spark job is. Not set: as the project's settings say."""

    executor_instances: int | None = Field(default=None, ge=1, le=1000, description="How many executors.")
    executor_cores: int | None = Field(default=None, ge=1, le=128, description="Cores of an executor.")
    executor_memory: Memory | None = Field(default=None, description="Memory of an executor, such as 512m.")
    driver_cores: int | None = Field(default=None, ge=1, le=128, description="Cores of the driver.")
    driver_memory: Memory | None = Field(default=None, description="Memory of the driver, such as 512m.")

    def spec(self) -> dict[str, dict[str, int | str]]:
        """What is set, in the Spark operator's field names."""
        driver = {"cores": self.driver_cores, "memory": self.driver_memory}
        executor = {
            "instances": self.executor_instances,
            "cores": self.executor_cores,
            "memory": self.executor_memory,
        }
        parts = {"driver": driver, "executor": executor}
        found = {name: {k: v for k, v in part.items() if v is not None} for name, part in parts.items()}
        return {name: part for name, part in found.items() if part}


class Transform(Model):
    """One revision of a table that is made by SQL."""

    stage: Literal["silver", "gold"] = Field(default="silver", description="Stage of the table.")
    name: Name = Field(description="Name of the table.")
    sql: str = Field(description="The SQL as it was sent.")
    steps: tuple[Step, ...] = Field(min_length=1, description="The checked statements, in order.")
    reads: tuple[View, ...] = Field(default=(), description="What the statements read.")
    engine: Literal["spark", "dbt"] = Field(default="spark", description="What runs the SQL.")
    key: tuple[Name, ...] = Field(default=(), description="Columns that name a row; they are tested.")
    write_mode: Literal["overwrite", "append"] = Field(
        default="overwrite", description="overwrite: the result is the table; append: it is added to it."
    )
    size: Size = Field(default_factory=Size, description="How large the Spark job is.")
    workspace: str = Field(default="default", description="Workspace that the table belongs to.")
    owner: str = Field(default="", description="Who made it: an account of the gateway.")
    description: str = Field(default="", description="What one row of the table is.")

    @property
    def table(self) -> str:
        return f"{self.stage}/{self.name}"


@dataclass(frozen=True)
class Revision:
    """A definition and its number, which counts the changes of one table."""

    number: int
    transform: Transform


def save(store: Store, transform: Transform) -> Revision:
    """The definition as the newest revision; the newest as it is, where nothing changed.

    Raises LakeError where others change the table all the time.
    """
    return _revision(_revisions(store).save(transform))


def load(store: Store, name: str, number: int = 0) -> Revision:
    """A revision; 0 is the newest. Raises ConfigError where there is none, or it cannot be read."""
    return _revision(_revisions(store).load(name, number))


def newest(store: Store) -> list[Revision]:
    """The definition of every table, by name."""
    return [_revision(one) for one in _revisions(store).newest()]


def _revisions(store: Store) -> Revisions[Transform]:
    return Revisions(store, FOLDER, Transform, "the table")


def _revision(one: Numbered[Transform]) -> Revision:
    return Revision(one.number, one.document)
