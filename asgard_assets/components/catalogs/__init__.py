"""The Iceberg catalog as an asset that follows what is published, and the sensor that asks for it."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
import time
from collections.abc import Callable

import dagster as dg

from asgard_assets.components.failures import clear_failures, retry_policy
from asgard_assets.errors import CatalogError
from asgard_assets.resources.lake import LakeResource
from asgard_assets.settings import Settings

KEY = dg.AssetKey(["catalog", "iceberg"])
_AGAIN_SECONDS = 600  # after which a sync that did not succeed is asked for again


def catalogs(clock: Callable[[], float] = time.time) -> dg.Definitions:
    """Nothing where no catalog is set."""
    if not Settings().iceberg:
        return dg.Definitions()
    return dg.Definitions(assets=[iceberg_catalog], sensors=[catalog_sensor(clock)])


@dg.asset(
    key=KEY,
    group_name="platform",
    description="Published tables in an Iceberg catalog, each at the Delta version that the lake has.",
    owners=[Settings().owner],
    tags={"stage": "platform"},
    kinds={"iceberg"},
    retry_policy=retry_policy(),
)
def iceberg_catalog(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Let all tables follow that are behind. Tables that cannot are named at the end, and the run fails."""
    from asgard_assets.catalogs.registration import Failed, catalog_of, standings, sync

    settings = Settings()
    with clear_failures():
        behind = [each.table for each in standings(lake.lake, settings.iceberg_tables) if not each.current]
        done = list(sync(lake.lake, catalog_of(settings, lake.lake), behind))
        failed = [each for each in done if isinstance(each, Failed)]
        for each in failed:
            context.log.warning(f"{each.table} does not follow: {each.reason}")
        if failed:
            raise CatalogError(
                f"{len(failed)} of {len(done)} tables could not follow; the first is {failed[0].table}: "
                f"{failed[0].reason}. Nothing of the lake is wrong; the next sync goes on"
            )
    followed = [each for each in done if not isinstance(each, Failed)]
    by_table = "\n".join(
        f"| {e.table} | {e.done} | {e.version} | {e.rows} | {e.seconds:.2f} |" for e in followed
    )
    return dg.MaterializeResult(
        metadata={
            "tables": len(followed),
            "rows": sum(each.rows for each in followed),
            "by_table": dg.MetadataValue.md(
                f"| table | done | version | rows | seconds |\n|---|---|---|---|---|\n{by_table}"
            ),
        }
    )


def catalog_sensor(clock: Callable[[], float]) -> dg.SensorDefinition:
    """Asks for a sync once a table was published, and again every ten minutes while one is behind."""

    @dg.sensor(
        name="catalogs",
        target=dg.AssetSelection.assets(KEY),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lets the Iceberg catalog follow tables that were published.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from asgard_assets.catalogs.registration import standings
        from asgard_assets.lake import Lake

        settings = Settings()
        behind = [
            e for e in standings(Lake.from_settings(settings), settings.iceberg_tables) if not e.current
        ]
        if not behind:
            return dg.SensorResult(skip_reason="the catalog has what the lake has")
        versions = ",".join(f"{each.table}@{each.lake_version}" for each in behind)
        turn = int(clock() // _AGAIN_SECONDS)
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"{turn}:{versions}")])

    return sensor
