"""Tallies in the lake: <lake>/_served/<model>/<version>/<day>/<writer>.json. Each gateway writes its own file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pydantic import ValidationError

from asgard_assets.lake.store import Store
from asgard_assets.ml.served.tally import Tally, added

_ROOT = "_served"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
DAYS = 7
"""How many days with requests a check looks at."""


@dataclass(frozen=True)
class Notes:
    """Of one lake."""

    store: Store

    def write(self, model: str, version: int, day: str, writer: str, tally: Tally) -> None:
        """What a writer has counted on a day; its earlier file of that day is replaced."""
        self.store.put(f"{_folder(model, version)}/{day}/{writer}.json", tally.model_dump_json().encode())

    def read(self, model: str, version: int, days: int = DAYS) -> Tally:
        """All writers of the newest days that have something. A file that cannot be read is passed over."""
        folder, found = _folder(model, version), list[Tally]()
        for day in self.days(model, version)[-days:]:
            for name in self.store.names(f"{folder}/{day}"):
                try:
                    found.append(Tally.model_validate_json(self.store.get(f"{folder}/{day}/{name}")))
                except (FileNotFoundError, ValidationError):
                    continue
        return reduce(added, found, Tally())

    def days(self, model: str, version: int) -> Sequence[str]:
        """The days on which a version was asked."""
        return sorted(one for one in self.store.folders(_folder(model, version)) if _DAY.fullmatch(one))


def _folder(model: str, version: int) -> str:
    return f"{_ROOT}/{model}/{version}"
