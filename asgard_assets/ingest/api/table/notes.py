"""What a task notes of the lists it walks, beside its result files: one note a page, in order.

Notes are written after the rows that they speak of. So every row of a page that is noted lies in a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asgard_assets.lake import DS, Lake

WALKS = "_walks"  # inside the staging folder: how far walks got
LEFT = "left"  # label of what was taken over from an earlier run


def write_notes(
    lake: Lake, staging_path: str, day: str, name: str, notes: Sequence[Mapping[str, Any]]
) -> str:
    """Write notes as one file that appears whole; gives back its address inside the staging folder."""
    import orjson

    inside = f"{WALKS}/{DS}={day}"
    with lake.whole(f"{staging_path}/{inside}/{name}.ndjson") as file:
        file.write(b"\n".join(orjson.dumps(note) for note in notes))
    return f"{inside}/{name}.ndjson"


def read_notes(lake: Lake, staging_path: str, inside: str) -> Iterator[dict[str, Any]]:
    """The notes of one file; none where there is no such file."""
    import orjson

    try:
        with lake.filesystem.open_input_stream(f"{staging_path}/{inside}") as stream:
            for line in stream.read().splitlines():
                yield orjson.loads(line)
    except FileNotFoundError:
        return


def label_of(name: str) -> str:
    """Which try wrote a file of results or notes; empty where no task did."""
    import re

    found = re.match(rf"(?:part-)?({LEFT}|\d{{5}}-[0-9a-f]{{8}})\b", name)
    return found.group(1) if found else ""
