"""Who asks for each asset: its inputs, a sensor, a schedule, or Airbyte."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from asgard_assets.operations.sources import load_definitions

if TYPE_CHECKING:
    import dagster as dg


def asked_by(definitions: dg.Definitions | None = None) -> Mapping[str, list[str]]:
    """Every asset that can be materialized, with what asks for it without a person; an empty list: nothing does."""
    import dagster as dg

    from asgard_assets.components.following.memory import NAME as FOLLOWING
    from asgard_assets.components.following.staleness import follows

    definitions = definitions or load_definitions()
    graph, repository = definitions.resolve_asset_graph(), definitions.get_repository_def()
    found: dict[dg.AssetKey, list[str]] = defaultdict(list)
    evaluated = set[dg.AssetKey]()
    for sensor in repository.sensor_defs:
        if isinstance(sensor, dg.AutomationConditionSensorDefinition):
            if sensor.default_status == dg.DefaultSensorStatus.RUNNING:
                evaluated |= set(sensor.asset_selection.resolve(graph))
        elif sensor.name == FOLLOWING:  # whatever it names, it asks for what has inputs
            evaluated |= {spec.key for spec in definitions.resolve_all_asset_specs() if follows(spec)}
        elif sensor.asset_selection is not None:
            for key in sensor.asset_selection.resolve(graph):
                found[key].append(f"sensor {sensor.name}")
    for schedule in repository.schedule_defs:
        for key in repository.get_job(schedule.job_name).asset_layer.selected_asset_keys:
            found[key].append(f"schedule {schedule.name}")
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        if node.automation_condition is not None and key in evaluated:
            found[key].append("automation")
        told = node.metadata.get("airbyte/schedule")
        if told is not None and getattr(told, "value", told) != "none":
            found[key].append("Airbyte's own schedule")
    return {key.to_user_string(): found[key] for key in sorted(graph.materializable_asset_keys)}


def unasked(definitions: dg.Definitions | None = None) -> dict[str, list[str]]:
    """Assets that nobody asks for, each with what waits for it."""
    import dagster as dg

    definitions = definitions or load_definitions()
    graph = definitions.resolve_asset_graph()
    below = {}
    for name in (name for name, by in asked_by(definitions).items() if not by):
        selection = dg.AssetSelection.assets(dg.AssetKey(name.split("/"))).downstream(include_self=False)
        below[name] = sorted(key.to_user_string() for key in selection.resolve(graph))
    return below
