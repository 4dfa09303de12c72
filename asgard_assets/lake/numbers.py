"""Transaction identifiers in a table's log (Delta protocol, "Transaction Identifiers"): who counts under which name.

`asgard/<day>` counts how often a day was published; every writer checks it. `<source>/<day>` is the plan that a source
loaded last for the day. No source may be named like the first.
"""

from __future__ import annotations

from collections.abc import Iterable

from asgard_assets.errors import LakeError

_OWN = "asgard"


def publish_id(day: str) -> str:
    """Under which a day is published; that of an unpartitioned table for ''."""
    return f"{_OWN}/{day}" if day else _OWN


def plan_id(source: str, day: str) -> str:
    """Under which the plans of a source's day are committed."""
    return f"{source}/{day}"


def source_name(name: str) -> str:
    """The name, where a source can have it. Raises ValueError, which is a model's error."""
    if name == _OWN:
        raise ValueError(
            f"a source cannot be named {_OWN}: the lake counts its own commits under that name, and loads of such a "
            "source get lost or doubled. Give it another name, and load its files under that"
        )
    return name


def refuse_own(table: str, ids: Iterable[str]) -> None:
    """Raises LakeError where a writer brings a number of its own under an identifier of the lake."""
    own = sorted(each for each in ids if each.partition("/")[0] == _OWN)
    if own:
        raise LakeError(
            f"{table}: {', '.join(own[:5])} is the lake's own transaction identifier; a plan needs another name",
            table=table,
        )
