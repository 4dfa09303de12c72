"""The output of a container, read bit by bit through the API server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from asgard_assets.spark.kube import Api

LOG_BYTES = 1_000_000
_LAST_LINES = 200


@dataclass
class PodLog:
    """What a container has said since it was last asked. Lines are told apart by their time, to the nanosecond."""

    container: str
    since: str = ""

    def read(self, api: Api, path: str, ended: bool) -> list[str]:
        """Lines that are new, at most 1 MB of them; of an `ended` container always the last ones, after a gap (…)."""
        query = {"sinceTime": self.since} if self.since else {}
        text = self._ask(api, path, limitBytes=str(LOG_BYTES), **query)
        full = len(text.encode()) >= LOG_BYTES
        new = self._newer(text[: text.rfind("\n") + 1] if full else text)  # its last line is cut
        if full and not new:
            self.since = _next_second(self.since)
        if full and ended:
            new += ["…", *self._newer(self._ask(api, path, tailLines=str(_LAST_LINES)))]
        return new

    def _ask(self, api: Api, path: str, **query: str) -> str:
        return api.text(path, container=self.container, timestamps="true", **query) or ""

    def _newer(self, text: str) -> list[str]:
        """A line may hold anything but a newline: carriage returns of progress bars, too."""
        new = []
        for line in text.split("\n"):
            stamp, _, said = line.partition(" ")
            if _moment(stamp) > _moment(self.since):
                self.since = stamp
                new.append(said)
        return new


def _next_second(stamp: str) -> str:
    """From where to read on when more was said in one second than one answer holds: `sinceTime` knows no fractions."""
    zone = re.search(r"Z$|[+-]\d\d:\d\d$", stamp)
    following = _moment(stamp)[0] + timedelta(seconds=1)
    return f"{following:%Y-%m-%dT%H:%M:%S}.0{zone.group() if zone else 'Z'}"


def _moment(stamp: str) -> tuple[datetime, str]:
    """A log line's time, to the nanosecond: seconds, then the digits after them."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    try:
        return datetime.fromisoformat(whole).replace(tzinfo=UTC), rest.ljust(9, "0")
    except ValueError:
        return datetime.min.replace(tzinfo=UTC), ""
