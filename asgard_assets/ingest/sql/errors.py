"""What can go wrong with a database."""

from __future__ import annotations

from asgard_assets.errors import SourceError, Terminal, Transient


class AwayError(Transient, SourceError):
    """The database does not answer, or ended the connection; later it may."""


class StatementTimeoutError(Terminal, SourceError):
    """A statement took longer than the source allows."""
