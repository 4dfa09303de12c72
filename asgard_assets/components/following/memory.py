"""What the sensor remembers from tick to tick, in its cursor. All of it may be lost: a few runs are tried again, a few
answers told again."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from asgard_assets.components.following.asking import Attempt, Memory

NAME = "following"
"""The sensor's."""


@dataclass(frozen=True)
class Told:
    """What Dagster was told of an asset last (`shown`), and what is to be told once it has been so for a while."""

    shown: int = 0
    next: int = 0
    since: float = 0.0


def remembered(cursor: str | None) -> Memory:
    """What the last tick wrote; nothing where it is lost or of another version."""
    try:
        told = _read(cursor)["memory"]
        return {a: {key: Attempt(*each) for key, each in found.items()} for a, found in told.items()}
    except (ValueError, TypeError, AttributeError, LookupError, zlib.error):
        return {}


def remembered_answers(cursor: str | None) -> dict[str, Told]:
    """What the checks `up_to_date` were told last; nothing where that is lost: then they are told again."""
    try:
        return {asset: Told(*each) for asset, each in _read(cursor)["answers"].items()}
    except (ValueError, TypeError, AttributeError, LookupError, zlib.error):
        return {}


def written(memory: Memory, answers: Mapping[str, Told] | None = None) -> str:
    told = {a: {key: astuple(each) for key, each in found.items()} for a, found in memory.items()}
    found = {"memory": told, "answers": {a: astuple(each) for a, each in (answers or {}).items()}}
    return base64.b64encode(zlib.compress(json.dumps(found, separators=(",", ":")).encode())).decode()


def _read(cursor: str | None) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(cursor or "")))
