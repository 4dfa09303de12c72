"""Bodies that do what few do, for a launched step as for one in process. Read by the tests and by their drivers."""

import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from tests.fakes.python_launcher import PythonLauncher

LAUNCHED = {"step_launcher"}
PAIRS = dg.MultiPartitionsDefinition(
    {
        "ds": dg.StaticPartitionsDefinition(["2026-10-05"]),
        "land": dg.StaticPartitionsDefinition(["Ö x", "日本"]),
    }
)
LONG = "a_table_whose_name_is_longer_than_a_label_of_kubernetes_may_be_by_quite_a_bit_" * 2


class Told(dg.ConfigurableResource):
    secret: str

    def shown(self) -> int:
        return len(self.secret)


class Wishes(dg.Config):
    rows: int = 3
    word: str = "grün"


@dg.asset(key=["long", LONG], partitions_def=PAIRS, required_resource_keys=LAUNCHED, code_version="1")
def named(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log.info(f"Größe \u2028 日本 \x85 \ud83d\ude00 {context.partition_key}")
    return dg.MaterializeResult(metadata={"key": context.partition_key})


@dg.asset(required_resource_keys={*LAUNCHED, "told"}, code_version="1")
def configured(context: dg.AssetExecutionContext, config: Wishes) -> dg.MaterializeResult[None]:
    secret = context.resources.told.shown()
    return dg.MaterializeResult(metadata={"rows": config.rows, "word": config.word, "secret": secret})


@dg.multi_asset(
    outs={
        "maybe": dg.AssetOut(is_required=False, dagster_type=dg.Nothing, code_version="1"),
        "surely": dg.AssetOut(is_required=False, dagster_type=dg.Nothing, code_version="1"),
    },
    required_resource_keys=LAUNCHED,
)
def some(context: dg.AssetExecutionContext) -> Iterator[Any]:
    yield dg.Output(None, output_name="surely")


@dg.asset(deps=["maybe"], code_version="1")
def after_maybe() -> None: ...


@dg.asset(deps=["surely"], code_version="1")
def after_surely() -> None: ...


@dg.asset(
    required_resource_keys=LAUNCHED,
    code_version="1",
    check_specs=[
        dg.AssetCheckSpec("strict", asset="checked", blocking=True),
        dg.AssetCheckSpec("mild", asset="checked"),
    ],
)
def checked(context: dg.AssetExecutionContext) -> Iterator[Any]:
    context.log_event(dg.AssetObservation("elsewhere", metadata={"seen": 1}))
    context.log_event(dg.AssetMaterialization("by_the_way", metadata={"made": 2}))
    yield dg.MaterializeResult(
        check_results=[
            dg.AssetCheckResult(passed=False, check_name="strict", metadata={"bad": 3}),
            dg.AssetCheckResult(passed=False, check_name="mild", severity=dg.AssetCheckSeverity.WARN),
        ]
    )


@dg.asset(deps=[checked], code_version="1")
def after_checked() -> None: ...


class Unpicklable(Exception):
    def __init__(self, one: str, two: object) -> None:
        super().__init__(f"cannot travel: {one}")
        self.lock = threading.Lock()


@dg.asset(required_resource_keys=LAUNCHED, code_version="1")
def unpicklable() -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise Unpicklable("x", threading.Lock()) from error


@dg.asset(required_resource_keys=LAUNCHED, code_version="1")
def wishes_again(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    if context.retry_number == 0:
        raise dg.RetryRequested(max_retries=1, seconds_to_wait=0.1)
    return dg.MaterializeResult(metadata={"attempt": context.retry_number})


@dg.asset(required_resource_keys=LAUNCHED, code_version="1")
def leaving() -> None:
    raise SystemExit("enough")


@dg.asset(required_resource_keys=LAUNCHED, code_version="1")
def printing(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    print("half a line", end="")  # noqa: T201
    os.write(2, b"\xff\xfe not UTF-8 \r progress \r done\n")
    return dg.MaterializeResult(metadata={"big": dg.JsonMetadataValue({"rows": ["ä" * 1000] * 5000})})


@dg.asset(required_resource_keys=LAUNCHED, code_version="1")
def forking(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log.info("before the fork")
    if os.fork() == 0:
        raise RuntimeError("of the child")  # runs on through everything that its parent has on the stack
    os.wait()
    context.log.info("after the fork")
    return dg.MaterializeResult(metadata={"parent": True})


@dg.asset(required_resource_keys=LAUNCHED, code_version="1")
def threading_on(context: dg.AssetExecutionContext) -> None:
    threading.Thread(target=time.sleep, args=(30,)).start()


@dg.asset(required_resource_keys=LAUNCHED, code_version="1")
def talkative(context: dg.AssetExecutionContext) -> None:
    """Says more than the host can write down in the time for which a driver waits for its host."""
    for number in range(1000):
        context.log.info("line %d", number)
    time.sleep(3)


@dg.asset(
    required_resource_keys=LAUNCHED, code_version="1", retry_policy=dg.RetryPolicy(max_retries=1, delay=0.1)
)
def dozing() -> None:
    time.sleep(6)


@dg.asset(required_resource_keys=LAUNCHED, code_version="1")
def adding(context: dg.AssetExecutionContext) -> None:
    context.instance.add_dynamic_partitions("files", ["new.csv", "wrong.csv"])
    context.instance.delete_dynamic_partition("files", "wrong.csv")


@dg.definitions
def defs() -> dg.Definitions:
    folder = os.environ.get("LAUNCH_FOLDER")
    launcher = (
        PythonLauncher(
            **{"folder": folder, "poll_seconds": 0.05, **json.loads(os.environ.get("ODD_LAUNCHER", "{}"))}
        )
        if folder
        else dg.ResourceDefinition.none_resource()
    )
    return dg.Definitions(
        assets=[
            named,
            configured,
            some,
            after_maybe,
            after_surely,
            checked,
            after_checked,
            unpicklable,
            wishes_again,
            leaving,
            printing,
            forking,
            threading_on,
            talkative,
            dozing,
            adding,
        ],
        resources={"step_launcher": launcher, "told": Told(secret=dg.EnvVar("ODD_SECRET"))},
        executor=dg.in_process_executor,
    )
