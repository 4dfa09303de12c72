"""What was submitted and waits for its run: one file each, so that nothing is lost where a process ends.

<home>/gateway/runs/<run id>.json      the submission
<home>/gateway/runs/<run id>.done      how its worker ended
<home>/gateway/runs/<run id>.log       what its worker printed
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from asgard_assets.errors import ConflictError
from asgard_assets.lake.store import Store

RUN_ID = re.compile(r"[0-9a-f]{8,36}")
NOT_MINE = 75
"""Exit code of a worker whose run another process has, of another gateway: nothing failed."""


@dataclass(frozen=True)
class Submission:
    """A run that somebody asked for. `created`: seconds since 1970.

    Of an ingestion, `source` is its name, `ask` which data to load, `partitions` of which windows, `retry_of` an earlier run.
    """

    run_id: str
    table: str
    revision: int
    created: float
    workspace: str = "default"
    account: str = ""
    executors: int = 0
    source: str = ""
    ask: str = ""
    partitions: str = ""
    retry_of: str = ""

    @property
    def is_transform(self) -> bool:
        """Whether it is SQL: not a load of a source, features, or the training of a model."""
        return self.table.startswith(("silver/", "gold/"))

    @property
    def name(self) -> str:
        return f"sql-exec-{self.run_id}"


@dataclass(frozen=True)
class Outcome:
    """How a worker ended. Memory is the most that its process had, in bytes."""

    ok: bool
    finished: float
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    reasons: tuple[str, ...] = ()


class Submissions:
    """The submissions of one machine. Safe for several processes: each file is written whole, once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder, self._store = folder, Store(str(folder))

    def add(self, submission: Submission) -> bool:
        """False where there is one of this id."""
        return self._store.put_new(f"{submission.run_id}.json", json.dumps(asdict(submission)).encode())

    def get(self, run_id: str) -> Submission | None:
        if not RUN_ID.fullmatch(run_id):
            return None
        try:
            return Submission(**json.loads(self._store.get(f"{run_id}.json")))
        except FileNotFoundError:
            return None

    def all(self) -> list[Submission]:
        """Newest first."""
        ids = [name.removesuffix(".json") for name in self._store.names("") if name.endswith(".json")]
        found = [one for run_id in ids if (one := self.get(run_id))]
        return sorted(found, key=lambda one: (one.created, one.run_id), reverse=True)

    def outcome(self, run_id: str) -> Outcome | None:
        try:
            told = json.loads(self._store.get(f"{run_id}.done"))
        except FileNotFoundError:
            return None
        return Outcome(**{**told, "reasons": tuple(told["reasons"])})

    def finish(self, run_id: str, outcome: Outcome) -> None:
        self._store.put_new(f"{run_id}.done", json.dumps(asdict(outcome)).encode())

    def log(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.log"

    @contextmanager
    def claimed(self, run_id: str) -> Iterator[bool]:
        """Whether this process is the one that runs it; freed when the block or the process ends."""
        import fcntl

        with open(self.folder / f"{run_id}.lock", "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def forget(self, run_id: str) -> None:
        """Remove everything of a run."""
        for path in self.folder.glob(f"{run_id}.*"):
            os.unlink(path)


def run_id_of(account: str, idempotency_key: str = "") -> str:
    """A new one; always the same for one idempotency key of an account."""
    if not idempotency_key:
        return secrets.token_hex(4)
    return hashlib.sha256(f"{account}\0{idempotency_key}".encode()).hexdigest()[:24]


def queued(submissions: Submissions, made: Submission) -> Submission:
    """Queue it, or give the earlier one of its id. Raises ConflictError where that asked for something else."""
    if submissions.add(made):
        return made
    known = submissions.get(made.run_id)
    if known is None or _asked(known) != _asked(made):
        raise ConflictError("this Idempotency-Key was sent before with another request; send a new key")
    return known


def _asked(one: Submission) -> tuple[str, int, str, str, str]:
    return one.table, one.revision, one.ask, one.partitions, one.retry_of
