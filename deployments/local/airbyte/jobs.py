"""Jobs and what they leave behind: one JSON file a job, one a connection, written whole or not at all.

A commit, of a checkpoint or of a sync's end, is one rename: `commits/<job>.json` holds the moves of its files,
the states and the job. Whatever dies after it is redone at the next start; whatever dies before it never was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from deployments.local.airbyte.files import write
from deployments.local.airbyte.landing import Move, clear_scratch

Status = Literal["pending", "running", "succeeded", "failed", "cancelled"]
ACTIVE: tuple[Status, ...] = ("pending", "running")


@dataclass(frozen=True)
class Job:
    """A sync of one connection. Times are seconds since 1970; `reason` says why it failed."""

    id: int
    connection_id: str
    created: float
    status: Status = "pending"
    started: float = 0.0
    updated: float = 0.0
    attempt: int = 1
    reason: str = ""
    records: int = 0
    bytes: int = 0
    streams: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.status in ACTIVE


@dataclass(frozen=True)
class Checkpoint:
    """What a connection's next sync starts from."""

    states: list[dict[str, Any]] = field(default_factory=list)
    generations: dict[str, int] = field(default_factory=dict)


class Store:
    """The server's memory in one folder. Not for two servers at once; callers serialise writes."""

    def __init__(self, folder: Path, landing: Path) -> None:
        self._folder = folder
        folder.mkdir(
            mode=0o700, parents=True, exist_ok=True
        )  # configurations, states and logs may hold secrets
        for name in ("jobs", "connections", "commits", "logs", "catalogs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.recover()
        clear_scratch(landing)

    def jobs(self) -> list[Job]:
        """All jobs, newest first."""
        return [Job(**orjson.loads(p.read_bytes())) for p in sorted(self._jobs(), reverse=True)]

    def job(self, job_id: int) -> Job | None:
        path = self._job(job_id)
        return Job(**orjson.loads(path.read_bytes())) if path.exists() else None

    def next_id(self) -> int:
        return max((int(path.stem) for path in self._jobs()), default=0) + 1

    def save(self, job: Job) -> Job:
        write(self._job(job.id), asdict(job))
        return job

    def checkpoint(self, connection_id: str) -> Checkpoint:
        path = self._connection(connection_id)
        return Checkpoint(**orjson.loads(path.read_bytes())) if path.exists() else Checkpoint()

    def commit(self, job: Job, checkpoint: Checkpoint, move: Move) -> Job:
        """Publish the files and keep the states and the job as it now is: all of it, or nothing."""
        path = self._commit(job.id)
        write(path, {"job": asdict(job), "checkpoint": asdict(checkpoint), "move": move.as_dict()})
        self.finish(path)
        return job

    def recover(self) -> None:
        """Finish commits that a crash or a full disk has interrupted."""
        for path in sorted((self._folder / "commits").glob("*.json")):
            self.finish(path)

    def committed(self, job_id: int) -> bool:
        """Whether a commit of the job is waiting to be finished; its files must then stay."""
        return self._commit(job_id).exists()

    def log(self, job_id: int) -> Path:
        return self._folder / "logs" / f"{job_id:08}.log"

    def catalog(self, name: str) -> Path:
        return self._folder / "catalogs" / f"{name}.json"

    def finish(self, path: Path) -> None:
        commit = orjson.loads(path.read_bytes())
        Move(**commit["move"]).apply()
        job = Job(**commit["job"])
        write(self._connection(job.connection_id), commit["checkpoint"])
        self.save(job)
        path.unlink()

    def _commit(self, job_id: int) -> Path:
        return self._folder / "commits" / f"{job_id:08}.json"

    def _jobs(self) -> Iterator[Path]:
        return (self._folder / "jobs").glob("*.json")

    def _job(self, job_id: int) -> Path:
        return self._folder / "jobs" / f"{job_id:08}.json"

    def _connection(self, connection_id: str) -> Path:
        return self._folder / "connections" / f"{connection_id}.json"
