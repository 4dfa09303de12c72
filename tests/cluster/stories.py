"""Small steps in which something goes wrong on the cluster. Read by the tests and, in the test image, by drivers."""

import json
import os
import time
from typing import Any

import dagster as dg

from asgard_assets.resources.environment import executor, step_launcher
from asgard_assets.settings import Settings
from asgard_assets.spark.s3 import S3Transport

LAUNCHED, POOL = {"step_launcher"}, "stories"
RETRY = int(os.environ.get("STORY_RETRIES", "0"))
POLICY = dg.RetryPolicy(max_retries=RETRY, delay=0.1) if RETRY else None


def trace(context: dg.AssetExecutionContext) -> S3Transport:
    """Objects by which a step shows that it still works."""
    return S3Transport.at(f"{Settings().lake_root}/_trace/{context.run.run_id}")


@dg.asset(required_resource_keys=LAUNCHED, retry_policy=POLICY, pool=POOL)
def slow(context: dg.AssetExecutionContext) -> None:
    """Writes a beat every second for five minutes, and says that it cleaned up."""
    context.log.info("slow has begun")
    beats = trace(context)
    try:
        for number in range(300):
            beats.put("beat", str(number).encode())
            time.sleep(1)
    finally:
        beats.put("cleaned", b"")


@dg.asset(required_resource_keys=LAUNCHED, retry_policy=POLICY)
def brief(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log.info("brief has begun")
    return dg.MaterializeResult(metadata={"attempt": context.retry_number})


@dg.asset(required_resource_keys=LAUNCHED, retry_policy=POLICY, pool=POOL)
def hungry(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Needs 1,000 MB beside what its process has."""
    context.log.info("hungry has begun")
    held = [os.urandom(1 << 20) for _ in range(1000)]
    return dg.MaterializeResult(metadata={"held": len(held), "attempt": context.retry_number})


@dg.asset(required_resource_keys={"step_launcher", "spark"})
def counting(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """A Spark job whose task says when it runs, and takes half a minute."""
    context.log.info("counting has begun")

    def nap(batches: Any) -> Any:
        for batch in batches:
            time.sleep(30)
            yield batch

    session = context.resources.spark.session
    rows = session.range(0, 4, 1, 1).mapInArrow(nap, "id long").count()
    return dg.MaterializeResult(metadata={"rows": rows})


@dg.asset(required_resource_keys={"step_launcher", "spark"})
def summing(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """The smallest Spark job with an executor."""
    return dg.MaterializeResult(metadata={"rows": context.resources.spark.session.range(0, 4, 1, 1).count()})


@dg.definitions
def defs() -> dg.Definitions:
    from asgard_assets.resources.spark import SparkResource

    launcher = step_launcher(Settings())
    if changed := os.environ.get("STORY_LAUNCHER"):
        # Made anew: Dagster binds what a resource was made with, and a copy would be undone.
        given = {name: getattr(launcher, name) for name in type(launcher).model_fields}
        launcher = type(launcher)(**{**given, **json.loads(changed)})
    return dg.Definitions(
        assets=[slow, brief, hungry, counting, summing],
        jobs=[dg.define_asset_job("briefly", ["brief"])],
        resources={"step_launcher": launcher, "spark": SparkResource()},
        executor=executor(),
    )
