"""Submissions of several gateways: rows of one Postgres. A run is claimed by a lock that ends with its process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from asgard_assets.operations.transforms.submissions import RUN_ID, Outcome, Submission, Submissions
from asgard_assets.settings import Settings

_tables = sa.MetaData()
_runs = sa.Table(
    "gateway_runs",
    _tables,
    sa.Column("run_id", sa.String(36), primary_key=True),
    sa.Column("created", sa.Float, nullable=False, index=True),
    sa.Column("submission", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
)


class SharedSubmissions(Submissions):
    """The submissions in a database. What a worker prints stays on its own machine, in `folder`."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder)
        self._engine = sa.create_engine(url, pool_pre_ping=True)
        with self._engine.begin() as connection:
            connection.execute(sa.text("select pg_advisory_xact_lock(7260120)"))  # others make the table too
            _tables.create_all(connection)

    def add(self, submission: Submission) -> bool:
        row = {
            "run_id": submission.run_id,
            "created": submission.created,
            "submission": json.dumps(asdict(submission)),
        }
        with self._engine.begin() as connection:
            done = connection.execute(insert(_runs).values(row).on_conflict_do_nothing())
        return done.rowcount == 1

    def get(self, run_id: str) -> Submission | None:
        if not RUN_ID.fullmatch(run_id):
            return None
        found = self._column(_runs.c.submission, run_id)
        return None if found is None else Submission(**json.loads(found))

    def all(self) -> list[Submission]:
        newest = sa.select(_runs.c.submission).order_by(_runs.c.created.desc(), _runs.c.run_id.desc())
        with self._engine.connect() as connection:
            return [Submission(**json.loads(row.submission)) for row in connection.execute(newest)]

    def outcome(self, run_id: str) -> Outcome | None:
        found = self._column(_runs.c.outcome, run_id)
        if found is None:
            return None
        told = json.loads(found)
        return Outcome(**{**told, "reasons": tuple(told["reasons"])})

    def finish(self, run_id: str, outcome: Outcome) -> None:
        first = _runs.update().where(_runs.c.run_id == run_id, _runs.c.outcome.is_(None))
        with self._engine.begin() as connection:
            connection.execute(first.values(outcome=json.dumps(asdict(outcome))))

    @contextmanager
    def claimed(self, run_id: str) -> Iterator[bool]:
        number = int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:8], signed=True)
        # On this machine a file's lock too: it outlives a restart of the database.
        with super().claimed(run_id) as here, self._engine.connect() as connection:
            mine = here and bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(number))))
            connection.commit()  # the lock is the session's: no transaction stays open beside it
            try:
                yield mine
            finally:
                if mine:
                    with suppress(DBAPIError):  # a session that has ended holds no lock
                        connection.execute(sa.select(sa.func.pg_advisory_unlock(number)))
                        connection.commit()

    def forget(self, run_id: str) -> None:
        super().forget(run_id)
        with self._engine.begin() as connection:
            connection.execute(_runs.delete().where(_runs.c.run_id == run_id))

    def _column(self, column: Any, run_id: str) -> Any:
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(column).where(_runs.c.run_id == run_id))


def submissions_of(settings: Settings) -> Submissions:
    """Those of this machine; with a Postgres in DATABASE_URL, those of all gateways on it."""
    folder = settings.home.absolute() / "gateway" / "runs"
    if settings.database_url.startswith("postgresql"):
        return SharedSubmissions(folder, settings.database_url)
    return Submissions(folder)
