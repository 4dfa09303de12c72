"""What keeps a project going: maintenance, automation and alerts, as one component."""

from __future__ import annotations

import dagster as dg


class Upkeep(dg.Component, dg.Model, dg.Resolvable):
    """The nightly maintenance of the lake and of Dagster's history, the sensor that carries new data on, and alerts when a run fails."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        from asgard_assets.components.catalogs import catalogs
        from asgard_assets.components.platform.automation import automation
        from asgard_assets.components.platform.maintenance import history_maintenance, lake_maintenance

        return dg.Definitions.merge(
            automation(), catalogs(), dg.Definitions(assets=[lake_maintenance, history_maintenance])
        )
