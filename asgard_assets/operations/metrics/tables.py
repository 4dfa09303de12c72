"""Tables of the lake and how far streams are: from the logs of the tables, and Kafka for the ends of topics."""

from __future__ import annotations

from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.table import STREAM
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import publish_id
from asgard_assets.lake.snapshot import Snapshot
from asgard_assets.telemetry.facts import LagFact, TableFact


class Tables:
    """The tables of a lake. One that has not changed since the last look costs one request."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._known = dict[str, tuple[Snapshot, TableFact]]()

    def facts(self) -> list[TableFact]:
        """Every published table."""
        found = dict[str, tuple[Snapshot, TableFact]]()
        for stage, name in self._lake.tables():
            known = self._known.get(f"{stage}/{name}")
            snapshot = self._lake.snapshot(stage, name, known[0] if known else None)
            same = known is not None and snapshot.version == known[0].version
            found[snapshot.table] = known if known and same else (snapshot, self._fact(snapshot))
        self._known = found
        return [fact for _, fact in found.values()]

    def lags(self, kafka: Kafka) -> list[LagFact]:
        """Every stream of the tables that were looked at last. Raises KafkaAway. A topic that is gone is left out."""
        found = list[LagFact]()
        for snapshot, _ in self._known.values():
            if not snapshot.table.startswith("bronze/"):
                continue
            for (name, topic_id), offsets in _offsets(snapshot).items():
                topic = kafka.topic(name)
                if topic is None or topic.id != topic_id:
                    continue
                for part, end in topic.end.items():
                    at = offsets.get(part, topic.first[part])
                    found.append(LagFact(snapshot.table, name, part, max(0, end - at), at))
        return found

    def _fact(self, snapshot: Snapshot) -> TableFact:
        parts = self._lake.parts(snapshot.delta) if snapshot.delta else []
        days = {part.day for part in parts}
        moments = [snapshot.moments.get(publish_id(day), 0) for day in days] or [0]
        newest = max(moments) or max(snapshot.moments.values(), default=0)
        return TableFact(
            snapshot.table,
            sum(part.rows for part in parts),
            sum(part.size for part in parts),
            len(parts),
            len(days),
            newest / 1000 if newest else None,
        )


def _offsets(snapshot: Snapshot) -> dict[tuple[str, str], dict[int, int]]:
    """The next offset of each partition, by topic and its id: the numbers that a stream's commits move."""
    found = dict[tuple[str, str], dict[int, int]]()
    for app, number in snapshot.numbers.items():
        if app.startswith(f"{STREAM}/") and number:
            topic, _, rest = app.removeprefix(f"{STREAM}/").partition("/")
            topic_id, _, part = rest.rpartition("/")  # Kafka's ids may have a slash in them
            found.setdefault((topic, topic_id), {})[int(part)] = number - 1
    return found
