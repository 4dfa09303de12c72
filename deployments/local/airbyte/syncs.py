"""Runs syncs: a thread and a connector process for each, one at a time for each connection."""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from asgard_assets.errors import AsgardError
from deployments.local.airbyte.connector import Connector, Limits, check, discover, spec
from deployments.local.airbyte.files import Log, write, write_private
from deployments.local.airbyte.jobs import Checkpoint, Job, Store
from deployments.local.airbyte.landing import Landing, Move, Stats, Target, folder_of
from deployments.local.airbyte.protocol import ConnectorError, States, stream_status
from deployments.local.airbyte.registry import Link, Registry

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""How often a job is taken up again after the server ended under it."""

CATALOG_SECONDS = 24 * 3600
"""How long what `discover` said is taken for true: as in Airbyte, a sync a day looks for new columns."""


class Conflict(Exception):
    """The connection has a job that has not ended."""


class Paused(Exception):
    """The connection is not active."""


@dataclass
class _Attempt:
    """What one attempt at a job works on. `saved` are the states of what is landed for good."""

    job: Job
    connection: Link
    landing: Landing
    states: States
    saved: States
    generations: dict[str, int]
    committed_at: float


class Syncs:
    """Starts, follows and cancels jobs. `resolve` turns a connector's name into a command's path."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        landing: Path,
        resolve: Callable[[str], Path],
        day: date | None = None,
        limits: Limits | None = None,
        checkpoint_seconds: float = 5,
    ) -> None:
        self.registry = registry
        self.store = store
        self._landing = landing
        self._resolve = resolve
        self._day = day
        self._limits = limits or Limits()
        self._checkpoint_seconds = checkpoint_seconds
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._running: dict[int, Connector] = {}
        self._cancelled: set[int] = set()
        self._stopping = False
        self._threads: dict[int, threading.Thread] = {}

    def start(self, connection_id: str) -> Job:
        """Queue a sync and return its job at once.

        Raises Conflict while one of the connection is active, Paused where the connection is not active.
        """
        with self._lock:
            if not self.registry.connections[connection_id].active:
                raise Paused(f"connection {self.registry.connections[connection_id].name} is not active")
            self.store.recover()
            for job in self.store.jobs():
                if job.connection_id == connection_id and job.active:
                    raise Conflict(f"job {job.id} of this connection is {job.status}")
            now = time.time()
            job = self.store.save(Job(self.store.next_id(), connection_id, created=now, updated=now))
            self._begin(job)
        return job

    def resume(self) -> None:
        """Take up the jobs that the end of an earlier server interrupted, each from its last checkpoint."""
        with self._lock:
            for job in self.store.jobs():
                if not job.active:
                    continue
                if job.attempt >= ATTEMPTS or job.connection_id not in self.registry.connections:
                    reason = f"the server ended {job.attempt} times while the sync ran"
                    self.store.save(replace(job, status="failed", updated=time.time(), reason=reason))
                    continue
                log.info("job %d: taken up again", job.id)
                self._begin(self.store.save(replace(job, attempt=job.attempt + 1, status="pending")))

    def cancel(self, job_id: int) -> Job | None:
        """Kill the job's connector; returns the job as it ended. A job that has ended stays as it is."""
        with self._lock:
            job = self.store.job(job_id)
            if job is None or not job.active:
                return job
            self._cancelled.add(job_id)
            running, thread = self._running.get(job_id), self._threads.get(job_id)
        if running:
            running.kill()
        if thread:
            thread.join(timeout=10)
        return self.store.job(job_id)

    def stop(self) -> None:
        """End every connector. Their jobs stay unfinished: the next start takes them up."""
        with self._lock:
            self._stopping = True
            running, threads = list(self._running.values()), list(self._threads.values())
        for connector in running:
            connector.kill()
        for thread in threads:
            thread.join(timeout=5)

    # Asking connectors -----------------------------------------------------------------------------------

    def specification(self, connector: str) -> dict[str, Any]:
        """What the connector says about itself, asked for once."""
        return self._asked("spec", [connector], lambda *place: spec(self._resolve(connector), *place))

    def check(self, source_id: str) -> str:
        """Why the source's configuration does not work; empty where it does. Asked for anew each time."""
        name, config = self.registry.command_of(source_id)
        with self._place("check") as (output, folder):
            return check(self._resolve(name), config, output, folder, self._keeper(source_id))

    def discover(self, source_id: str, *, anew: bool = False) -> list[dict[str, Any]]:
        """The source's own description of its streams, asked for once a day for each configuration."""
        name, config = self.registry.command_of(source_id)
        command = self._resolve(name)
        return self._asked(
            "streams",
            [str(command), config],
            lambda *place: discover(command, config, *place, self._keeper(source_id)),
            0 if anew else CATALOG_SECONDS,
        )

    def _keeper(self, source_id: str) -> Callable[[Mapping[str, Any]], None]:
        return lambda config: self.registry.change_source(source_id, config)

    def _asked(
        self, kind: str, key: list[Any], ask: Callable[[Log, Path], Any], seconds: float = math.inf
    ) -> Any:
        digest = hashlib.sha256(orjson.dumps([kind, key], option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
        path = self.store.catalog(digest)
        with self._asking:
            if not path.exists() or time.time() - path.stat().st_mtime >= seconds:
                with self._place(digest) as (output, folder):
                    write(path, ask(output, folder))
        return orjson.loads(path.read_bytes())

    @contextmanager
    def _place(self, name: str):
        output = Log(self.store.catalog(name).with_suffix(".log"), self._limits.log_bytes)
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield output, Path(folder)
            finally:
                output.close()

    # Running a job ---------------------------------------------------------------------------------------

    def _begin(self, job: Job) -> None:
        thread = threading.Thread(target=self._run, args=(job,), name=f"sync-{job.id}", daemon=True)
        self._threads[job.id] = thread
        thread.start()

    def _run(self, job: Job) -> None:
        try:
            now = time.time()
            self._sync(self._save(replace(job, status="running", started=job.started or now)))
        finally:
            left = self.store.job(job.id)
            if left and left.active and not self._stopping:
                self._end_badly(left, "an error in this server; its own log has the trace")
            with self._lock:
                self._threads.pop(job.id, None)
                self._cancelled.discard(job.id)

    def _sync(self, job: Job) -> None:
        connection = self.registry.connections[job.connection_id]
        log.info("job %d: syncing %s", job.id, connection.name)
        try:
            attempt = self._attempt(job, connection)
        except (ConnectorError, AsgardError, OSError, ValueError) as error:
            self._end_badly(job, str(error))
            return
        try:
            self._check(job, connection)
            self._read(attempt)
            self._finish(attempt)
            log.info("job %d: succeeded, %d records", job.id, attempt.job.records)
        except (
            ConnectorError,
            AsgardError,
            OSError,
            KeyError,
            TypeError,
            AttributeError,
            ValueError,
        ) as error:
            # The last four are what reading a message of the wrong shape raises.
            known = isinstance(error, ConnectorError | AsgardError | OSError)
            reason = str(error) if known else f"malformed message: {error!r}"
            if not self.store.committed(job.id):
                try:
                    self._keep_checkpoints(attempt)
                except OSError as lost:
                    reason += f"; what its last state covers could not be landed either: {lost}"
                attempt.landing.discard()
            self._end_badly(attempt.job, reason)

    def _attempt(self, job: Job, connection: Link) -> _Attempt:
        checkpoint = self.store.checkpoint(connection.id)
        destination = self.registry.destinations[connection.destination_id]
        schemas = {s["name"]: s.get("json_schema") or {} for s in self.discover(connection.source_id)}
        generations = dict(checkpoint.generations)
        targets = {}
        for stream in connection.streams:
            folder = folder_of(connection.prefix, stream.name)
            before = generations.get(folder, 0)
            generations[folder] = before + 1 if stream.overwrites else max(before, 1)
            targets[stream.name] = Target(
                folder, generations[folder], destination.format, schemas.get(stream.name, {})
            )
        day = self._day or datetime.now(UTC).date()
        root = destination.folder(self._landing)
        landing = Landing(root, job.id, day, int(time.time() * 1000), targets)
        states, saved = States(checkpoint.states), States(checkpoint.states)
        for stream in connection.streams:
            if not stream.incremental:  # a full refresh starts from nothing
                states.forget(stream.name)
                saved.forget(stream.name)
        return _Attempt(job, connection, landing, states, saved, generations, time.monotonic())

    def _check(self, job: Job, connection: Link) -> None:
        """As Airbyte does: where the last sync did not succeed, find out before reading whether this one can."""
        earlier = (j for j in self.store.jobs() if j.connection_id == connection.id and j.id < job.id)
        last = next(earlier, None)
        if last is None or last.status != "succeeded":
            if reason := self.check(connection.source_id):
                command = self.registry.sources[connection.source_id].command
                raise ConnectorError(f"{command}: `check` failed: {reason}")

    def _read(self, attempt: _Attempt) -> None:
        """Run the connector's `read`, land its records, and commit checkpoints on the way."""
        job, connection = attempt.job, attempt.connection
        offered = self.discover(connection.source_id)
        name, config = self.registry.command_of(connection.source_id)  # after `discover`, which may change it
        command, now = self._resolve(name), self.registry.sources[connection.source_id].now
        catalog = _configured(connection, name, offered, job.id, attempt.generations)
        wanted = {s.name for s in connection.streams}
        statuses: dict[str, str] = {}
        output = Log(self.store.log(job.id), self._limits.log_bytes)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            arguments = ["read", "--config", str(write_private(folder / "config.json", config))]
            arguments += ["--catalog", str(write_private(folder / "catalog.json", catalog))]
            if known := attempt.states.given(wanted):
                arguments += ["--state", str(write_private(folder / "state.json", known))]
            keep = self._keeper(connection.source_id)
            with Connector(command, arguments, output, folder, self._limits, now, keep) as running:
                with self._lock:
                    self._running[job.id] = running
                    unwanted = self._stopping or job.id in self._cancelled
                try:
                    if unwanted:
                        raise ConnectorError("ended before it began")
                    for message in running.messages():
                        if message["type"] == "RECORD":
                            record = message["record"]
                            if record["stream"] not in wanted:
                                raise ConnectorError(
                                    f"{running.name}: record of unknown stream {record['stream']}"
                                )
                            attempt.landing.add(record["stream"], record["data"], record["emitted_at"])
                        elif message["type"] == "STATE":
                            attempt.states.add(message["state"])
                            self._checkpoint(attempt)
                        elif status := stream_status(message):
                            statuses[status[0]] = status[1]
                finally:
                    with self._lock:
                        self._running.pop(job.id, None)
                    output.close()
        # Exit code 0 is not enough: a source may give up on one stream and go on with the next.
        unfinished = sorted(s for s in wanted if statuses and statuses.get(s) != "COMPLETE")
        if unfinished:
            raise ConnectorError(f"{command.name}: ended without completing {', '.join(unfinished)}")

    def _checkpoint(self, attempt: _Attempt) -> None:
        """Note which records the latest state covers, and now and then land them for good with it.

        Only incremental streams are landed in parts; a full refresh is landed whole or not at all.
        """
        latest = attempt.states.latest
        incremental = [s.name for s in attempt.connection.streams if s.incremental]
        covered = [name for name in incremental if latest in ("", name)]
        waiting = sum(attempt.landing.mark(name).records for name in covered)
        if waiting and time.monotonic() - attempt.committed_at >= self._checkpoint_seconds:
            for state in attempt.states.of(covered):
                attempt.saved.add(state)
            # All that came of these streams is covered; what came of others may not be.
            self._commit(attempt, *attempt.landing.take(dict.fromkeys(covered, False)))
            attempt.committed_at = time.monotonic()

    def _keep_checkpoints(self, attempt: _Attempt) -> None:
        """The attempt is over: land what states cover, together with these states, and nothing else."""
        streams = {s.name: False for s in attempt.connection.streams if s.incremental}
        attempt.saved = attempt.states.copy()
        self._commit(attempt, *attempt.landing.take(streams, marked=True))

    def _finish(self, attempt: _Attempt) -> None:
        streams = {s.name: s.overwrites for s in attempt.connection.streams}
        attempt.saved = attempt.states.copy()
        move, stats = attempt.landing.take(streams, last=True)
        with self._lock:
            if attempt.job.id in self._cancelled:
                raise ConnectorError("cancelled")
        self._commit(attempt, move, stats, done=True)

    def _commit(self, attempt: _Attempt, move: Move, stats: dict[str, Stats], *, done: bool = False) -> None:
        figures = {s.name: Stats() for s in attempt.connection.streams}
        figures |= {n: Stats(f["records"], f["bytes"]) for n, f in attempt.job.streams.items()}
        figures |= {n: figures[n] + more for n, more in stats.items()}
        with self._lock:
            attempt.job = replace(
                attempt.job,
                status="succeeded" if done else "running",
                updated=time.time(),
                records=sum(s.records for s in figures.values()),
                bytes=sum(s.bytes for s in figures.values()),
                streams={n: {"records": s.records, "bytes": s.bytes} for n, s in figures.items()},
            )
            kept = attempt.generations if done else self._generations_so_far(attempt)
            self.store.commit(attempt.job, Checkpoint(attempt.saved.all(), kept), move)

    def _generations_so_far(self, attempt: _Attempt) -> dict[str, int]:
        """A generation counts from the moment at which it replaced the one before."""
        before = self.store.checkpoint(attempt.connection.id).generations
        whole = {
            folder_of(attempt.connection.prefix, s.name) for s in attempt.connection.streams if s.overwrites
        }
        return {f: before.get(f, 0) if f in whole else n for f, n in attempt.generations.items()}

    def _end_badly(self, job: Job, reason: str) -> None:
        with self._lock:
            if job.id in self._cancelled:
                reason = "cancelled on request"
                self.store.save(replace(job, status="cancelled", updated=time.time(), reason=reason))
                log.info("job %d: cancelled", job.id)
                return
            if self._stopping:
                return
            self.store.save(replace(job, status="failed", updated=time.time(), reason=reason))
        log.warning("job %d: failed: %s", job.id, reason)

    def _save(self, job: Job) -> Job:
        with self._lock:
            return self.store.save(replace(job, updated=time.time()))


def _configured(
    connection: Link, source: str, offered: list[dict[str, Any]], sync_id: int, generations: dict[str, int]
) -> dict[str, Any]:
    """The catalog that `read` gets: the wanted streams with mode, cursor and generation."""
    by_name = {stream["name"]: stream for stream in offered}
    chosen = []
    for stream in connection.streams:
        if stream.name not in by_name:
            raise ConnectorError(f"{source} has no stream {stream.name}; it has {', '.join(sorted(by_name))}")
        description = by_name[stream.name]
        mode, destination = stream.modes
        if mode not in description.get("supported_sync_modes", [mode]):
            raise ConnectorError(f"stream {stream.name} of {source} cannot be read as {mode}")
        generation = generations[folder_of(connection.prefix, stream.name)]
        own_key = [list(path) for path in stream.primary_key]
        chosen.append(
            {
                "stream": description,
                "sync_mode": mode,
                "destination_sync_mode": destination,
                "cursor_field": list(stream.cursor) or description.get("default_cursor_field", []),
                "primary_key": own_key or description.get("source_defined_primary_key", []),
                "generation_id": generation,
                "minimum_generation_id": generation if stream.overwrites else 0,
                "sync_id": sync_id,
            }
        )
    return {"streams": chosen}
