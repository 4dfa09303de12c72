"""Catalogs as assets that follow what is published, and the sensor that asks for them."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from asgard_assets.catalogs.receipts import Followed, Kind
from asgard_assets.components.failures import clear_failures, retry_policy
from asgard_assets.resources.lake import LakeResource
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from asgard_assets.catalogs.registration import Failed

_AGAIN_SECONDS = 600  # after which a sync that did not succeed is asked for again
_SWEEP_SECONDS = 3600  # after which tables that did not move are looked at too
_CHECK = "current"
_ABOUT: dict[Kind, str] = {
    "iceberg": "Published tables in an Iceberg catalog, each at the Delta version that the lake has.",
    "hive": "Names and columns of published tables in a Hive Metastore, for engines that read Delta by name.",
}


def catalogs(clock: Callable[[], float] = time.time) -> dg.Definitions:
    """Nothing where no catalog is set."""
    kinds = _set(Settings())
    if not kinds:
        return dg.Definitions()
    return dg.Definitions(assets=[catalog_asset(kind) for kind in kinds], sensors=[catalog_sensor(clock)])


def _set(settings: Settings) -> list[Kind]:
    """Catalogs of the settings."""
    kinds: dict[Kind, str] = {"iceberg": settings.iceberg, "hive": settings.hive_metastore}
    return [kind for kind, address in kinds.items() if address]


def _key(kind: Kind) -> dg.AssetKey:
    return dg.AssetKey(["catalog", kind])


def catalog_asset(kind: Kind) -> dg.AssetsDefinition:
    """Lets all tables follow that are behind. What cannot follow is a warning of its check, and comes with a later sync."""

    @dg.asset(
        key=_key(kind),
        group_name="platform",
        description=_ABOUT[kind],
        owners=[Settings().owner],
        tags={"stage": "platform"},
        kinds={kind},
        retry_policy=retry_policy(),
        check_specs=[
            dg.AssetCheckSpec(_CHECK, asset=_key(kind), description="Every table could follow the lake.")
        ],
    )
    def following(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        from asgard_assets.catalogs.registration import Failed, opened, place, standings, sync, wanted_by

        settings = Settings()
        with clear_failures():
            patterns = wanted_by(settings).get(kind, ())
            found = standings(lake.lake, kind, patterns, place=place(settings, kind))
            behind = [each.table for each in found if not each.current]
            done = list(sync(lake.lake, opened(settings, lake.lake, kind), behind))
        failed = [each for each in done if isinstance(each, Failed)]
        for each in failed:
            context.log.warning(f"{each.table} does not follow: {each.reason}")
        return _result([each for each in done if not isinstance(each, Failed)], failed)

    return following


def _result(followed: Sequence[Followed], failed: "Sequence[Failed]") -> dg.MaterializeResult:
    lines = [f"| {e.table} | {e.done} | {e.version} | {e.rows} | {e.seconds:.2f} |" for e in followed]
    head = "| table | done | version | rows | seconds |\n|---|---|---|---|---|\n"
    check = dg.AssetCheckResult(
        check_name=_CHECK,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description="Nothing of the lake is wrong; the next sync goes on. By hand: asgard catalog sync"
        if failed
        else None,
        metadata={"cannot_follow": [f"{each.table}: {each.reason}" for each in failed]},
    )
    return dg.MaterializeResult(
        metadata={
            "tables": len(followed),
            "rows": sum(each.rows for each in followed),
            "by_table": dg.MetadataValue.md(head + "\n".join(lines)),
        },
        check_results=[check],
    )


def catalog_sensor(clock: Callable[[], float]) -> dg.SensorDefinition:
    """Asks for a sync once a table was published, and again every ten minutes while one is behind.

    A table that did not move since a tick found it current costs one request.
    """

    @dg.sensor(
        name="catalogs",
        target=dg.AssetSelection.assets(*map(_key, _set(Settings()))),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lets the catalogs follow tables that were published.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from asgard_assets.catalogs.registration import place, standings, wanted_by
        from asgard_assets.lake import Lake

        settings, sweep = Settings(), int(clock() // _SWEEP_SECONDS)
        before = json.loads(context.cursor or "{}")
        known = before.get("current", {}) if before.get("sweep") == sweep else {}
        current, requests, lake = (
            dict[str, dict[str, int]](),
            list[dg.RunRequest](),
            Lake.from_settings(settings),
        )
        for kind, patterns in wanted_by(settings).items():
            where = place(settings, kind)
            found = standings(lake, kind, patterns, known.get(f"{kind}:{where}"), where)
            behind = [each for each in found if not each.current]
            current[f"{kind}:{where}"] = {each.table: each.lake_version for each in found if each.current}
            if behind:
                versions = ",".join(f"{each.table}@{each.lake_version}" for each in behind)
                key = f"{kind}:{int(clock() // _AGAIN_SECONDS)}:{versions}"
                requests.append(dg.RunRequest(run_key=key, asset_selection=[_key(kind)]))
        cursor = json.dumps({"sweep": sweep, "current": current})
        reason = None if requests else "the catalogs have what the lake has"
        return dg.SensorResult(run_requests=requests, skip_reason=reason, cursor=cursor)

    return sensor
