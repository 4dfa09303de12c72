"""When to stop: an API that answers nothing usable must not become millions of failed rows."""

from __future__ import annotations

from asgard_assets.ingest.api.access.auth import references
from asgard_assets.ingest.api.http.messages import ConnectFailed, Refused, Response, Unreachable
from asgard_assets.ingest.api.source.models import ApiSource

REFUSED_STATUSES = frozenset({401, 403})


class Breaker:
    """Ends a task whose API gives no usable answer to anything, instead of writing millions of failures.

    Armed until the first usable answer. Raises Unreachable or Refused, with what to do.
    """

    def __init__(self, source: ApiSource, base_url: str):
        self._source, self._base_url = source, base_url
        self.armed = True
        self.last: Unreachable | Refused | None = None
        self._in_a_row = 0

    def answered(self, response: Response) -> None:
        """Count an answer of whatever kind."""
        if response.status in REFUSED_STATUSES:
            self._useless(self._refused(response.status))
        else:
            self.armed = False

    def not_connected(self, error: ConnectFailed) -> None:
        """Count a server that was not there."""
        self._useless(self._unreachable(error))

    def _useless(self, error: Unreachable | Refused) -> None:
        if self.armed:
            self.last = error
            self._in_a_row += 1
            if self._in_a_row >= self._source.execution.breaker:
                raise error

    def _unreachable(self, error: ConnectFailed) -> Unreachable:
        return Unreachable(
            f"{self._source.name}: {self._base_url} refused the connection; is the API up? ({error.message})",
            source=self._source.name,
        )

    def _refused(self, status: int) -> Refused:
        reference = " and ".join(references(self._source)) or "auth, which is none"
        if self._source.auth.type == "api_key":
            reference += "; an API that wants a second key: auth: {type: api_keys, …}"
        return Refused(
            f"{self._source.name}: {self._base_url} refused the credentials ({status}); check {reference}",
            source=self._source.name,
            status=status,
        )
