"""Telling owners that a table is late, or is fresh again. Dagster's daemon knows; this sensor tells each change once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from asgard_assets.components.platform.alerts import alert
from asgard_assets.errors import ConfigError

log = logging.getLogger(__name__)

_BAD = {"WARN": "is late", "FAIL": "is too old"}
_SHOWN = 20

Read = Callable[[dg.DagsterInstance, Sequence[dg.AssetKey]], Mapping[dg.AssetKey, str]]


def freshness_states(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> Mapping[dg.AssetKey, str]:
    """PASS, WARN, FAIL or UNKNOWN, by asset, as Dagster's daemon found them last."""
    found: Any = instance.get_freshness_state_records(keys)
    return {key: record.freshness_state.value for key, record in found.items()}


def freshness_alerts(read: Read = freshness_states) -> dg.SensorDefinition:
    """One message to each owner for all that changed since the last tick; of what stays as it is none."""

    @dg.sensor(
        name="freshness_alerts",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells owners which of their tables are late or too old, and which are fresh again.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        assert context.repository_def is not None
        graph, before = context.repository_def.asset_graph, _remembered(context.cursor)
        states = read(context.instance, sorted(graph.get_all_asset_keys()))
        now = {key.to_user_string(): state for key, state in states.items() if state in _BAD}
        fresh = {key.to_user_string() for key, state in states.items() if state == "PASS"}
        changed = {name: _BAD[state] for name, state in now.items() if before.get(name) != state}
        changed |= {name: "is fresh again" for name in before if name in fresh}
        owners = dict[tuple[str, ...], list[str]]()
        for name in sorted(changed):
            key = dg.AssetKey.from_user_string(name)
            named = tuple(graph.get(key).owners) if graph.has(key) else ()
            owners.setdefault(named, []).append(f"{name} {changed[name]}")
        for named, lines in owners.items():
            _tell(lines, named)
        # What Dagster does not know now is remembered as it was: a recovery is still to be told.
        after = {name: state for name, state in before.items() if name not in fresh} | now
        return dg.SensorResult(
            cursor=json.dumps(after), skip_reason=f"{len(changed)} changes, {len(after)} are late"
        )

    return sensor


def _tell(lines: list[str], owners: Sequence[str]) -> None:
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    text = "Asgard: " + "; ".join([*lines[:_SHOWN], *more])
    try:
        alert(text, owners, {"assets": ", ".join(line.split(" ")[0] for line in lines)})
    except (ConfigError, OSError) as error:
        log.error("nobody could be told: %s", error)


def _remembered(cursor: str | None) -> dict[str, str]:
    try:
        found = json.loads(cursor or "{}")
        return found if isinstance(found, dict) else {}
    except ValueError:
        return {}
