"""Sensors for conditions, beside the sensor `following`: of both, one asks for each asset."""

from __future__ import annotations

import dagster as dg

from asgard_assets.components.following.memory import NAME
from asgard_assets.components.following.staleness import follows


def with_automation(loaded: dg.Definitions) -> dg.Definitions:
    """Definitions in which one thing asks for each asset: `following` for what follows its inputs, conditions for the rest.

    Conditions see events, not rows: a rebuild that changed no row would start all that reads it once more.
    """
    if not any(sensor.name == NAME for sensor in loaded.sensors or ()):
        return loaded
    keys = [spec.key for spec in loaded.resolve_all_asset_specs() if follows(spec)]
    left = dg.AssetSelection.assets(*keys)
    rest = dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all() - left,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Evaluates the conditions of assets that the sensor `following` leaves alone.",
    )
    # Dagster adds a sensor for conditions that none has, with a name that says nothing.
    off = dg.AutomationConditionSensorDefinition(
        "left_to_following",
        target=left,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Stopped on purpose: the sensor `following` asks for these tables, as the lake says what is stale.",
    )
    return dg.Definitions.merge(loaded, dg.Definitions(sensors=[rest, off] if keys else [rest]))
