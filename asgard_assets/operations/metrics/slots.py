"""Replication slots of the databases that are followed: a slot that nobody reads keeps Postgres' log until its disk is full."""

from __future__ import annotations

from collections.abc import Mapping

from asgard_assets.ingest.api.source.secrets import resolve
from asgard_assets.sinks.events import connected
from asgard_assets.telemetry.facts import SlotFact

_SECONDS = 5
_QUERY = """
select slot_name, active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
from pg_replication_slots
"""


def slots(databases: Mapping[str, str]) -> list[SlotFact]:
    """The slots of each database, whose address is a reference. Raises PostgresAway, ConfigError."""
    found = list[SlotFact]()
    for name, reference in databases.items():
        url = resolve(reference, "ASGARD_WATCHED_POSTGRES").value
        with connected(url, name, reference, _SECONDS) as connection, connection.cursor() as cursor:
            cursor.execute(_QUERY)
            found += [SlotFact(name, slot, active, held) for slot, active, held in cursor.fetchall()]
    return found
