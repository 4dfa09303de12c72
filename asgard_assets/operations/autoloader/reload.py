"""Dagster loads the project again after an ingestion was made, changed or deleted. Runs that go on are left alone."""

from __future__ import annotations

import json
import logging
import threading
import urllib.error
import urllib.request

from asgard_assets import project
from asgard_assets.settings import Settings

log = logging.getLogger(__name__)
_SECONDS = 120
_ASKED = (
    "mutation Reload($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) "
    "{ __typename ... on PythonError { message } } }"
)


class Reloader:
    """Asks in a thread of its own, once for changes that come while it asks. What fails is told in the log: the next
    start of the code location has the change in any case."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.dagster_url.rstrip("/")
        self._lock, self._wanted, self._busy = threading.Lock(), False, False

    def __call__(self) -> None:
        if not self._url:
            return
        with self._lock:
            self._wanted = True
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._work, name="reload", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._busy = False
                    return
                self._wanted = False
            try:
                told = ask(self._url, project.current().location)
                log.info("Dagster has loaded the project again: %s", told)
            except Exception as error:  # noqa: BLE001  a thread that ends here would never ask again
                log.warning(
                    "Dagster at %s did not load the project again (ASGARD_DAGSTER_URL): %s", self._url, error
                )


def ask(url: str, location: str) -> str:
    """Load a code location again. Returns the kind of the answer. Raises OSError where nobody answers."""
    body = json.dumps({"query": _ASKED, "variables": {"name": location}}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/graphql", body, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        told = json.load(answer)
    if not (found := (told.get("data") or {}).get("reloadRepositoryLocation")):
        raise ValueError(f"it answers {str(told)[:200]}")
    return str(found.get("message") or found.get("__typename"))
