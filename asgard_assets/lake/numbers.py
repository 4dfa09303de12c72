"""Transaction identifiers in a table's log (Delta protocol, "Transaction Identifiers"): who counts under which name.

`asgard/<day>` counts how often a day was published; every writer checks it. `asgard/rows/<day>` counts how often its rows
changed. `asgard/read/<day>` and `asgard/code/<day>` are hashes: of what the day was built from, and of the code that built
it. `<source>/<day>` is the plan that a source loaded last for the day. No source may be named like the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from asgard_assets.errors import LakeError

_OWN = "asgard"
COMMIT_ID = "asgard_commit"
"""Metadata of each of the lake's own commits: a token by which it is found again."""
_ROWS = f"{_OWN}/rows/"


def publish_id(day: str) -> str:
    """Under which a day is published; that of an unpartitioned table for ''."""
    return f"{_OWN}/{day}" if day else _OWN


def rows_id(day: str) -> str:
    """Under which it is counted how often the rows of a day changed."""
    return f"{_ROWS}{day}"


def seen_id() -> str:
    """Under which the version stands up to which commits of other writers are counted."""
    return f"{_OWN}/seen/"


def read_id(day: str) -> str:
    """Under which the hash of what a day was built from stands."""
    return f"{_OWN}/read/{day}"


def code_id(day: str) -> str:
    """Under which the hash of the code that built a day stands."""
    return f"{_OWN}/code/{day}"


def rows_number(numbers: Mapping[str, int], day: str) -> int:
    """How often the rows of a day changed; before that was counted, each publish counts as a change."""
    return numbers.get(rows_id(day)) or numbers.get(publish_id(day), 0)


def rows_of(numbers: Mapping[str, int]) -> dict[str, int]:
    """How often the rows of each day changed, whoever wrote it."""
    days = [app[len(_OWN) + 1 :] for app in numbers if app.partition("/")[0] == _OWN]
    found = {day.removeprefix("rows/") for day in days if "/" not in day or day.startswith("rows/")}
    return {day: rows_number(numbers, day) for day in sorted(found)}


def with_foreign(rows: Mapping[str, int], foreign: Mapping[str, int]) -> dict[str, int]:
    """The row numbers with the commits of others, which have none: each is another number, by its version."""
    return {**rows, **{day: rows.get(day, 0) + version for day, version in foreign.items()}}


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
