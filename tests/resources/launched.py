"""Small assets that try everything a launched step can do. Read by the tests and by their drivers.

`LAUNCH_FOLDER` in the environment binds a launcher of plain processes; without it the settings choose, and by
default the same assets run in process.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from asgard_assets.resources.environment import step_launcher
from asgard_assets.resources.spark import SparkResource
from asgard_assets.settings import Settings
from tests.fakes.python_launcher import PythonLauncher

DAYS = dg.DailyPartitionsDefinition("2026-10-05", end_date="2026-10-12")
FILES = dg.DynamicPartitionsDefinition(name="files")
LAUNCHED = {"step_launcher"}


@dg.asset(partitions_def=DAYS, code_version="1")
def upstream(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(data_version=dg.DataVersion(f"up-{context.partition_key}"))


@dg.asset(
    partitions_def=DAYS,
    deps=[upstream],
    code_version="2",
    check_specs=[dg.AssetCheckSpec("filled", asset="table", blocking=True)],
    required_resource_keys=LAUNCHED,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def table(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """Days or a range of days, with metadata of its own for each, a check and a log line."""
    context.log.info("writing %d days", len(context.partition_keys))
    for number, day in enumerate(context.partition_keys):
        context.add_asset_metadata({"dagster/partition_row_count": number}, partition_key=day)
    yield dg.AssetCheckResult(
        passed=True, check_name="filled", metadata={"days": len(context.partition_keys)}
    )
    yield dg.MaterializeResult(
        metadata={"keys": list(context.partition_keys), "note": dg.MarkdownMetadataValue("*x*")}
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec("first", partitions_def=DAYS, deps=["upstream"], skippable=True, code_version="1"),
        dg.AssetSpec("second", partitions_def=DAYS, deps=["first"], skippable=True, code_version="1"),
    ],
    can_subset=True,
    required_resource_keys=LAUNCHED,
)
def pair(context: dg.AssetExecutionContext) -> Iterator[Any]:
    for key in sorted(context.selected_asset_keys):
        yield dg.MaterializeResult(asset_key=key, metadata={"partition": context.partition_key})


@dg.asset(code_version="1", partitions_def=FILES, required_resource_keys=LAUNCHED)
def from_file(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"file": context.partition_key})


@dg.asset(code_version="1", required_resource_keys=LAUNCHED)
def failing() -> None:
    raise ValueError("the body is wrong")


@dg.asset(code_version="1", required_resource_keys=LAUNCHED)
def refusing() -> None:
    raise dg.Failure("no rows", metadata={"rows": 0}, allow_retries=False)


@dg.asset(
    code_version="1", required_resource_keys=LAUNCHED, retry_policy=dg.RetryPolicy(max_retries=1, delay=0.1)
)
def second_try(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    if context.retry_number == 0:
        raise RuntimeError("not yet")
    return dg.MaterializeResult(metadata={"attempt": context.retry_number})


@dg.asset(code_version="1", required_resource_keys=LAUNCHED)
def vanishing() -> None:
    sys.stderr.write("about to vanish\n")
    os._exit(17)


@dg.asset(
    code_version="1", required_resource_keys=LAUNCHED, retry_policy=dg.RetryPolicy(max_retries=1, delay=0.1)
)
def lost_once(context: dg.AssetExecutionContext) -> None:
    if context.retry_number == 0:
        os._exit(17)


@dg.asset(code_version="1", required_resource_keys=LAUNCHED)
def lying() -> None:
    """Succeeds, and then its process ends with another code."""
    import atexit

    atexit.register(os._exit, 9)


@dg.asset(code_version="1", required_resource_keys=LAUNCHED)
def sleeping(context: dg.AssetExecutionContext) -> None:
    """Writes its process id, sleeps, and says that it cleaned up."""
    folder = Path(os.environ["LAUNCH_FOLDER"])
    context.log.info("asleep")
    try:
        (folder / "pid").write_text(str(os.getpid()))
        time.sleep(120)
    finally:
        (folder / "cleaned").touch()


@dg.asset(code_version="1", required_resource_keys={"step_launcher", "spark"})
def counted(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """One Spark job."""
    return dg.MaterializeResult(metadata={"rows": context.resources.spark.session.range(4).count()})


@dg.asset(required_resource_keys={"step_launcher", "picky"})
def fussy() -> None:
    """Its resource starts on the host only."""


class Picky(dg.ConfigurableResource):
    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        if "asgard_assets.resources.step_main" in sys.argv or "step_main" in sys.argv[0]:
            raise RuntimeError("no such database here")


def _local(folder: str) -> PythonLauncher:
    from tests.patience import patience  # the image of the cluster's tests has it not

    return PythonLauncher(
        folder=folder, poll_seconds=0.05, cancel_seconds=patience(1), host_seconds=patience(1)
    )


@dg.definitions
def defs() -> dg.Definitions:
    folder = os.environ.get("LAUNCH_FOLDER")
    launcher = _local(folder) if folder else step_launcher(Settings())
    return dg.Definitions(
        assets=[
            upstream,
            table,
            pair,
            from_file,
            failing,
            refusing,
            second_try,
            vanishing,
            lost_once,
            lying,
            sleeping,
            counted,
            fussy,
        ],
        resources={"step_launcher": launcher, "spark": SparkResource(), "picky": Picky()},
        executor=dg.in_process_executor,
    )
