"""Runs syncs: a thread and a connector process for each, one at a time for each connection."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from asgard_assets.errors import AsgardError
from deployments.local.airbyte.connector import Connector, discover, write_private
from deployments.local.airbyte.jobs import Checkpoint, Job, Store, write
from deployments.local.airbyte.landing import Landing, folder_of
from deployments.local.airbyte.protocol import ConnectorError, States, stream_status
from deployments.local.airbyte.workspace import Connection, Workspace

log = logging.getLogger(__name__)


class Conflict(Exception):
    """The connection has a job that has not ended."""


class Syncs:
    """Starts, follows and cancels jobs. `resolve` turns a connection's source into a command's path."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        landing: Path,
        resolve: Callable[[str], Path],
        day: date | None = None,
        timeout_seconds: float = 3600,
    ) -> None:
        self.workspace = workspace
        self.store = store
        self._landing = landing
        self._resolve = resolve
        self._day = day
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._discovering = threading.Lock()
        self._running: dict[int, Connector] = {}
        self._cancelled: set[int] = set()
        self._stopping = False
        self._threads: dict[int, threading.Thread] = {}

    def start(self, connection_id: str) -> Job:
        """Queue a sync and return its job at once. Raises Conflict while one of the connection is active."""
        with self._lock:
            self.store.recover()
            for job in self.store.jobs():
                if job.connection_id == connection_id and job.active:
                    raise Conflict(f"job {job.id} of this connection is {job.status}")
            now = time.time()
            job = self.store.save(Job(self.store.next_id(), connection_id, created=now, updated=now))
            thread = threading.Thread(target=self._run, args=(job,), name=f"sync-{job.id}", daemon=True)
            self._threads[job.id] = thread
            thread.start()
        return job

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
        """End every connector; their jobs fail and say that the server was stopped."""
        with self._lock:
            self._stopping = True
            running, threads = list(self._running.values()), list(self._threads.values())
        for connector in running:
            connector.kill()
        for thread in threads:
            thread.join(timeout=5)

    def catalog(self, connection: Connection) -> list[dict[str, Any]]:
        """The source's own description of its streams; discovered once for each command and configuration."""
        command = self._resolve(connection.source)
        asked = orjson.dumps([str(command), connection.config], option=orjson.OPT_SORT_KEYS)
        path = self.store.catalog(hashlib.sha256(asked).hexdigest()[:16])
        with self._discovering:
            if not path.exists():
                with tempfile.TemporaryDirectory() as folder, path.with_suffix(".log").open("ab") as output:
                    write(path, discover(command, connection.config, output, Path(folder)))
        return orjson.loads(path.read_bytes())

    def _run(self, job: Job) -> None:
        try:
            self._sync(self._save(replace(job, status="running", started=time.time())))
        finally:
            if (left := self.store.job(job.id)) and left.active:
                self._end_badly(left, "an error in this server; its own log has the trace")
            with self._lock:
                self._threads.pop(job.id, None)
                self._cancelled.discard(job.id)

    def _sync(self, job: Job) -> None:
        connection = self.workspace.by_id()[job.connection_id]
        log.info("job %d: syncing %s", job.id, connection.name)
        checkpoint = self.store.checkpoint(job.connection_id)
        generations = {}
        for stream in connection.streams:
            folder = folder_of(connection.prefix, stream.name)
            before = checkpoint.generations.get(folder, 0)
            generations[folder] = before + 1 if stream.overwrites else max(before, 1)
        day = self._day or datetime.now(UTC).date()
        landing = Landing(self._landing, job.id, day, generations)
        try:
            states = self._read(job, connection, checkpoint, landing, generations)
            landing.close()
            overwritten = {folder_of(connection.prefix, s.name) for s in connection.streams if s.overwrites}
            move = landing.move(overwritten, epoch_ms=int(time.time() * 1000))
            stats = {
                s.name: landing.stats_of(folder_of(connection.prefix, s.name)) for s in connection.streams
            }
            done = replace(
                job,
                status="succeeded",
                updated=time.time(),
                records=sum(s.records for s in stats.values()),
                bytes=sum(s.bytes for s in stats.values()),
                streams={n: {"records": s.records, "bytes": s.bytes} for n, s in stats.items()},
            )
            with self._lock:
                if job.id in self._cancelled:
                    raise ConnectorError("cancelled")
                self.store.commit(done, Checkpoint(states.all(), generations), move)
            log.info("job %d: succeeded, %d records", job.id, done.records)
        except (ConnectorError, AsgardError, OSError, KeyError, TypeError, AttributeError) as error:
            # The last three are what reading a message of the wrong shape raises.
            if not self.store.committed(job.id):
                landing.discard()
            known = isinstance(error, ConnectorError | AsgardError | OSError)
            self._end_badly(job, str(error) if known else f"malformed message: {error!r}")

    def _read(
        self,
        job: Job,
        connection: Connection,
        checkpoint: Checkpoint,
        landing: Landing,
        generations: dict[str, int],
    ) -> States:
        """Run the connector's `read` and land its records; returns the checkpoints after them."""
        command = self._resolve(connection.source)
        catalog = _configured(connection, self.catalog(connection), job.id, generations)
        states = States(checkpoint.states)
        for stream in connection.streams:
            if not stream.incremental:
                states.forget(stream.name)  # a full refresh starts from nothing
        folders = {s.name: folder_of(connection.prefix, s.name) for s in connection.streams}
        statuses: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as name, self.store.log(job.id).open("ab") as output:
            folder = Path(name)
            arguments = ["read", "--config", str(write_private(folder / "config.json", connection.config))]
            arguments += ["--catalog", str(write_private(folder / "catalog.json", catalog))]
            if known := states.of(folders):
                arguments += ["--state", str(write_private(folder / "state.json", known))]
            with Connector(command, arguments, output, folder, self._timeout_seconds) as running:
                with self._lock:
                    self._running[job.id] = running
                    unwanted = self._stopping or job.id in self._cancelled
                try:
                    if unwanted:
                        raise ConnectorError("ended before it began")
                    for message in running.messages():
                        if message["type"] == "RECORD":
                            record = message["record"]
                            if record["stream"] not in folders:
                                raise ConnectorError(
                                    f"{running.name}: record of unknown stream {record['stream']}"
                                )
                            landing.add(folders[record["stream"]], record["data"], record["emitted_at"])
                        elif message["type"] == "STATE":
                            states.add(message["state"])
                        elif status := stream_status(message):
                            statuses[status[0]] = status[1]
                finally:
                    with self._lock:
                        self._running.pop(job.id, None)
        # Exit code 0 is not enough: a source may give up on one stream and go on with the next.
        unfinished = sorted(s for s in folders if statuses and statuses.get(s) != "COMPLETE")
        if unfinished:
            raise ConnectorError(f"{command.name}: ended without completing {', '.join(unfinished)}")
        return states

    def _end_badly(self, job: Job, reason: str) -> None:
        with self._lock:
            if job.id in self._cancelled:
                self.store.save(
                    replace(job, status="cancelled", updated=time.time(), reason="cancelled on request")
                )
                log.info("job %d: cancelled", job.id)
                return
            if self._stopping:
                reason = "the server was stopped while the sync ran; nothing of it was landed"
            self.store.save(replace(job, status="failed", updated=time.time(), reason=reason))
        log.warning("job %d: failed: %s", job.id, reason)

    def _save(self, job: Job) -> Job:
        with self._lock:
            return self.store.save(replace(job, updated=time.time()))


def _configured(
    connection: Connection, offered: list[dict[str, Any]], sync_id: int, generations: dict[str, int]
) -> dict[str, Any]:
    """The catalog that `read` gets: the wanted streams with mode, cursor and generation."""
    by_name = {stream["name"]: stream for stream in offered}
    chosen = []
    for stream in connection.streams:
        if stream.name not in by_name:
            raise ConnectorError(
                f"{connection.source} has no stream {stream.name}; it has {', '.join(sorted(by_name))}"
            )
        description = by_name[stream.name]
        source, destination = stream.modes
        if source not in description.get("supported_sync_modes", [source]):
            raise ConnectorError(f"stream {stream.name} of {connection.source} cannot be read as {source}")
        generation = generations[folder_of(connection.prefix, stream.name)]
        chosen.append(
            {
                "stream": description,
                "sync_mode": source,
                "destination_sync_mode": destination,
                "cursor_field": list(stream.cursor) or description.get("default_cursor_field", []),
                "primary_key": description.get("source_defined_primary_key", []),
                "generation_id": generation,
                "minimum_generation_id": generation if stream.overwrites else 0,
                "sync_id": sync_id,
            }
        )
    return {"streams": chosen}
