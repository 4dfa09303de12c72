"""Documents that were sent to the API, as immutable revisions in the lake.

    <lake>/<folder>/<name>.<number>.json

The newest revision of a name is what holds. A writer creates the next number, and only one can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pydantic import ValidationError

from asgard_assets.errors import ChangedError, ConfigError, LakeError
from asgard_assets.lake.store import Store

NAME = r"^[a-z][a-z0-9_]{0,62}$"
_FILE = re.compile(r"([a-z][a-z0-9_]{0,62})\.([1-9][0-9]{0,8})\.json")


class Named(Protocol):
    """A document with a name of its own: a frozen model."""

    @property
    def name(self) -> str: ...

    def model_dump_json(self) -> str: ...

    @classmethod
    def model_validate(cls, obj: object) -> Named: ...


D = TypeVar("D", bound=Named)


@dataclass(frozen=True)
class Numbered(Generic[D]):
    """A document and the number of its revision."""

    number: int
    document: D


@dataclass(frozen=True)
class Revisions(Generic[D]):
    """The documents of one kind. `what` names the kind in messages."""

    store: Store
    folder: str
    kind: type[D]
    what: str

    def save(self, document: D, expected: int | None = None) -> Numbered[D]:
        """As the newest revision; the newest as it is, where nothing changed.

        Raises ChangedError where the newest is not `expected`, LakeError where others change it all the time.
        """
        for _ in range(20):
            known = self.numbers().get(document.name, 0)
            if expected is not None and known != expected:
                raise ChangedError(
                    f"{self.what} {document.name} was changed by others: it has the revision {known}, not {expected}. "
                    "Read it again"
                )
            if known and (found := self.load(document.name, known)).document == document:
                return found
            content = document.model_dump_json().encode()
            if self.store.put_new(self._path(document.name, known + 1), content):
                return Numbered(known + 1, document)
        raise LakeError(
            f"{self.what} {document.name}: its definition is being changed by others; send it again",
            table=document.name,
        )

    def load(self, name: str, number: int = 0) -> Numbered[D]:
        """A revision; 0 is the newest. Raises ConfigError where there is none, or it cannot be read."""
        number = number or self.numbers().get(name, 0)
        path = self._path(name, number)
        try:
            return Numbered(number, self.kind.model_validate(json.loads(self.store.get(path))))  # type: ignore[arg-type]
        except FileNotFoundError as error:
            raise ConfigError(
                f"{self.what} {name} has no definition {number or ''} in {self.folder}".rstrip()
            ) from error
        except (ValueError, ValidationError) as error:
            raise ConfigError(f"{path} in the lake is no definition: {error}") from error

    def find(self, name: str) -> Numbered[D] | None:
        """The newest revision, if there is one."""
        return self.load(name) if self.numbers().get(name) else None

    def newest(self) -> list[Numbered[D]]:
        """The newest revision of every name, by name."""
        return [self.load(name, number) for name, number in sorted(self.numbers().items())]

    def numbers(self) -> dict[str, int]:
        """The newest number of every name."""
        return _numbers(self.store.names(self.folder))

    def _path(self, name: str, number: int) -> str:
        return f"{self.folder}/{name}.{number}.json"


def _numbers(files: Iterable[str]) -> dict[str, int]:
    found = dict[str, int]()
    for file in files:
        if match := _FILE.fullmatch(file):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]))
    return found
