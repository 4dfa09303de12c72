"""Accounts, their keys, and the audit log: SQLite in the home, or the database in DATABASE_URL.

Of a key only its hash is kept. The audit log is only ever added to: the database itself refuses anything else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.gateway.accounts.roles import EVERYWHERE, ROLES, Caller
from asgard_assets.settings import Settings

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")
_KEY = re.compile(r"asgard_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_tables = sa.MetaData()
_accounts = sa.Table(
    "gateway_accounts",
    _tables,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("workspaces", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
)
_keys = sa.Table(
    "gateway_keys",
    _tables,
    sa.Column("id", sa.String(12), primary_key=True),
    sa.Column("account", sa.String(63), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.Column("revoked", sa.Boolean, nullable=False, default=False),
)
_audit = sa.Table(
    "gateway_audit",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("account", sa.String(63), nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("action", sa.String(600), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
)
_ONLY_ADDED = {
    "sqlite": tuple(
        f"create trigger if not exists gateway_audit_{verb} before {verb} on gateway_audit "
        "begin select raise(abort, 'the audit log is only added to'); end"
        for verb in ("update", "delete")
    ),
    "postgresql": tuple(
        f"create or replace rule gateway_audit_{verb} as on {verb} to gateway_audit do instead nothing"
        for verb in ("update", "delete")
    ),
}


@dataclass(frozen=True)
class Account:
    """An account, without its keys."""

    name: str
    role: str
    workspaces: tuple[str, ...]
    disabled: bool = False


@dataclass(frozen=True)
class Entry:
    """A line of the audit log. `time`: seconds since 1970."""

    time: float
    account: str
    request_id: str
    action: str
    status: int


class Accounts:
    """Safe for several processes on one database. `clock` gives seconds since 1970."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        # SQLite has one writer at a time: who comes meanwhile waits, so that no line of the audit log is lost.
        waits = {"timeout": 60} if url.startswith("sqlite") else {}
        self._engine, self._clock = sa.create_engine(url, pool_pre_ping=True, connect_args=waits), clock
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":  # other gateways make the tables too
                connection.execute(sa.text("select pg_advisory_xact_lock(7260120)"))
            _tables.create_all(connection)
            for statement in _ONLY_ADDED.get(self._engine.dialect.name, ()):
                connection.execute(sa.text(statement))

    @classmethod
    def from_settings(cls, settings: Settings) -> Accounts:
        if settings.database_url:
            return cls(settings.database_url)
        folder = settings.home.absolute() / "gateway"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(f"sqlite:///{folder / 'accounts.db'}")

    def close(self) -> None:
        self._engine.dispose()

    # Accounts

    def add(self, name: str, role: str, workspaces: tuple[str, ...] = (EVERYWHERE,)) -> Account:
        """Raises ConfigError where name or role are none, ConflictError where the account exists."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name[:70]!r} is no account's name: use lower-case letters, digits and . _ -")
        if role not in ROLES:
            raise ConfigError(f"{role!r} is no role; choose one of {', '.join(ROLES)}")
        row = {
            "name": name,
            "role": role,
            "workspaces": json.dumps(workspaces),
            "created": self._clock(),
            "disabled": False,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(_accounts.insert().values(row))
        except IntegrityError as error:
            raise ConflictError(f"the account {name} exists already") from error
        return Account(name, role, workspaces)

    def list(self) -> list[Account]:
        with self._engine.connect() as connection:
            rows = connection.execute(_accounts.select().order_by(_accounts.c.name)).all()
        return [Account(row.name, row.role, tuple(json.loads(row.workspaces)), row.disabled) for row in rows]

    def disable(self, name: str) -> None:
        """Its keys stop working. Raises NotFoundError."""
        with self._engine.begin() as connection:
            done = connection.execute(
                _accounts.update().where(_accounts.c.name == name).values(disabled=True)
            )
        if not done.rowcount:
            raise NotFoundError(f"there is no account {name}")

    def new_key(self, name: str, days: float = 90) -> str:
        """A key of the account; it is shown this once. Raises NotFoundError."""
        if name not in {account.name for account in self.list() if not account.disabled}:
            raise NotFoundError(f"there is no account {name}")
        number, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), self._clock()
        row = {"id": number, "account": name, "hash": _hash(secret), "created": now, "revoked": False}
        with self._engine.begin() as connection:
            connection.execute(_keys.insert().values(**row, expires=now + days * 86_400))
        return f"asgard_{number}_{secret}"

    def revoke(self, key_id: str) -> None:
        """Raises NotFoundError."""
        with self._engine.begin() as connection:
            done = connection.execute(_keys.update().where(_keys.c.id == key_id).values(revoked=True))
        if not done.rowcount:
            raise NotFoundError(f"there is no key {key_id}")

    def caller(self, key: str) -> Caller | None:
        """Whose key it is; None where it is nobody's, or has ended."""
        match = _KEY.fullmatch(key)
        if match is None:
            return None
        wanted = sa.select(_keys.c.hash, _keys.c.expires, _accounts).join(
            _accounts, _accounts.c.name == _keys.c.account
        )
        wanted = wanted.where(_keys.c.id == match[1], ~_keys.c.revoked, ~_accounts.c.disabled)
        with self._engine.connect() as connection:
            row = connection.execute(wanted).first()
        if row is None or not hmac.compare_digest(row.hash, _hash(match[2])) or row.expires <= self._clock():
            return None
        return Caller(row.name, row.role, tuple(json.loads(row.workspaces)))

    def owner_of(self, key_id: str) -> Caller | None:
        """Whose key has this id; None where it was revoked or has ended, or its account is disabled."""
        wanted = sa.select(_keys.c.expires, _accounts).join(_accounts, _accounts.c.name == _keys.c.account)
        wanted = wanted.where(_keys.c.id == key_id, ~_keys.c.revoked, ~_accounts.c.disabled)
        with self._engine.connect() as connection:
            row = connection.execute(wanted).first()
        if row is None or row.expires <= self._clock():
            return None
        return Caller(row.name, row.role, tuple(json.loads(row.workspaces)))

    # Audit

    def note(self, account: str, request_id: str, action: str, status: int) -> None:
        """Add a line to the audit log."""
        row: dict[str, Any] = {"time": self._clock(), "account": account, "request_id": request_id}
        with self._engine.begin() as connection:
            connection.execute(_audit.insert().values(**row, action=action[:600], status=status))

    def audit(self, limit: int = 100) -> list[Entry]:
        """The newest lines first."""
        with self._engine.connect() as connection:
            rows = connection.execute(_audit.select().order_by(_audit.c.id.desc()).limit(limit)).all()
        return [Entry(row.time, row.account, row.request_id, row.action, row.status) for row in rows]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
