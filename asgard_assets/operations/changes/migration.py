"""A change in steps: each is known in words before the first one is taken, and can be taken again after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.lake import Lake

if TYPE_CHECKING:
    from deltalake import DeltaTable


@dataclass(frozen=True)
class Step:
    """One thing that a migration does, in words, and how it is done."""

    what: str
    do: Callable[[], object] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Migration:
    """What is changed, by which steps (none: it is so already), and what a person has to do afterwards."""

    title: str
    steps: tuple[Step, ...]
    then: tuple[str, ...] = ()

    def carry_out(self) -> Iterator[str]:
        """Take the steps in order; each is named once it is done."""
        for step in self.steps:
            step.do()
            yield step.what


def parts_of(address: str) -> tuple[str, str]:
    """Stage and name of `stage/table` or `stage.table`. Raises ConfigError."""
    stage, _, name = address.replace(".", "/").partition("/")
    if not stage or not name or "/" in name:
        raise ConfigError(f"{address!r} is no table; write it as stage/table, such as silver/usage")
    return stage, name


def opened(lake: Lake, address: str) -> tuple[str, str, DeltaTable]:
    """Stage, name and the table itself. Raises NotFoundError that names what is near."""
    stage, name = parts_of(address)
    table = lake.table(stage, name)
    if table is None:
        near = ", ".join(f"{s}/{n}" for s, n in lake.tables() if n == name or s == stage)
        raise NotFoundError(f"there is no table {stage}/{name}" + (f"; there are {near}" if near else ""))
    return stage, name, table
