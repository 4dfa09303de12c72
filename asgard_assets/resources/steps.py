"""One Dagster step in two processes: described on the host, rebuilt and run in a driver, recorded on the host.

With the purge of its history the only file that touches Dagster's private modules, so it is pinned to one Dagster
version: a driver of another version refuses to start. Nothing is pickled: a step travels as Dagster's own JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import cache
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DataVersion
from dagster._core.definitions.partitions.definition import (
    DynamicPartitionsDefinition,
    MultiPartitionsDefinition,
)
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.errors import DagsterExecutionInterruptedError, raise_execution_interrupts
from dagster._core.events import DagsterEventType, EngineEventData
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.context.data_version_cache import DataVersionCache, InputAssetVersionInfo
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import dagster_event_sequence_for_step
from dagster._core.execution.plan.execute_step import core_dagster_event_sequence_for_step
from dagster._core.execution.retries import RetryMode
from dagster._utils.interrupts import capture_interrupts

from asgard_assets import project
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.lake.race import refuse_careless
from asgard_assets.version import VERSION

__all__ = [
    "Interrupted",
    "OtherCodeError",
    "StepExecutionContext",
    "announce",
    "describe",
    "execute",
    "fingerprint",
    "here",
    "interruptible",
    "is_terminal",
    "owner",
    "read",
    "record",
    "resources_of",
    "run",
]

Interrupted = DagsterExecutionInterruptedError
_POINTER = "dagster/input_event_pointer/"
_PARTITIONS = "asgard/dynamic_partitions"


class OtherCodeError(ConfigError):
    """Host and driver would not run the same step."""


@cache
def fingerprint() -> str:
    """Hash of the platform's and the project's code as it was when this process first asked."""
    return project.code_digest(project.find())


def interruptible() -> AbstractContextManager[None]:
    """A block in which a cancelled run raises Interrupted (or KeyboardInterrupt) at once."""
    return raise_execution_interrupts()


def execute(
    module: str,
    folder: str,
    assets: Sequence[str],
    instance: dg.DagsterInstance,
    tags: Mapping[str, str],
    run_config: Mapping[str, Any],
) -> bool:
    """Run assets of `module.defs` in this process, as `dagster asset materialize` does. False where the run failed.

    The module is loaded by name, so that a launched step's driver can load it too. Ctrl-C cancels the run.
    """
    job = ReconstructableRepository.for_module(module, "defs", folder).get_reconstructable_job("__ASSET_JOB")
    keys = [dg.AssetKey.from_user_string(asset) for asset in assets]
    with capture_interrupts():
        return dg.execute_job(
            job, instance, run_config=dict(run_config), tags=dict(tags), asset_selection=keys
        ).success


# On the host ---------------------------------------------------------------------------------------------


def describe(context: StepExecutionContext) -> str:
    """Everything that a driver needs to run this step, as one JSON text.

    Raises ConfigError where the job exists only in this process's memory.
    """
    job = context.job
    if not isinstance(job, ReconstructableJob):
        raise ConfigError(
            "a launched step needs definitions that another process can load: run it with `dagster asset "
            "materialize`, `dg launch`, the UI or a reconstructable job, not with dg.materialize on objects"
        )
    return json.dumps(
        {
            "dagster": dg.__version__,
            "platform": VERSION,
            "code": fingerprint(),
            "step_key": context.step.key,
            "retry_mode": context.retry_mode.value,
            "run_config": context.run_config,
            "run": dg.serialize_value(context.dagster_run),
            "job": dg.serialize_value(
                job.with_repository_load_data(context.execution_plan.repository_load_data)
            ),
            "known_state": dg.serialize_value(context.get_known_state()),
            "inputs": _input_versions(context),
            "dynamic_partitions": _dynamic_partitions(context),
        }
    )


def here(context: StepExecutionContext) -> Iterator[dg.DagsterEvent]:
    """The events of the step, whose body runs in this process."""
    return core_dagster_event_sequence_for_step(context)


def resources_of(context: StepExecutionContext) -> Iterator[Any]:
    """The resources that the step requires."""
    found: Any = context.resources
    return iter(found)


def owner(context: StepExecutionContext) -> str:
    """Who owns the step's first asset; without one the step itself."""
    layer = context.job_def.asset_layer
    named = [
        name
        for key in sorted(context.get_output_asset_keys()) if layer.has(key)
        for name in layer.get(key).owners
    ]  # fmt: skip
    return named[0] if named else context.step.key


def announce(context: StepExecutionContext, message: str, metadata: Mapping[str, Any]) -> dg.DagsterEvent:
    """An engine event in the run's log that says what the launcher does."""
    return dg.DagsterEvent.engine_event(context, message, EngineEventData(metadata=dict(metadata)))


def read(context: StepExecutionContext, line: str) -> dg.EventLogEntry:
    """An entry that the driver sent."""
    entry = dg.deserialize_value(line, dg.EventLogEntry)
    if entry.run_id != context.run_id:
        raise ConfigError(f"the driver sent an event of run {entry.run_id}, but this is run {context.run_id}")
    return entry


def is_terminal(entry: dg.EventLogEntry) -> bool:
    """Whether the entry is the step's own last word: success, failure, or a wish to be retried."""
    event = entry.dagster_event
    return event is not None and (
        event.is_step_success or event.is_step_failure or event.is_step_up_for_retry
    )


def record(context: StepExecutionContext, entry: dg.EventLogEntry) -> Iterator[dg.DagsterEvent]:
    """Write the entry into the host's event log, and hand its event (not a log line) to the executor."""
    entry = _with_host_pointers(context, entry)
    context.instance.handle_new_event(entry)
    if entry.dagster_event is not None:
        _change_partitions(context.instance, entry.dagster_event)
        yield entry.dagster_event


def _change_partitions(instance: dg.DagsterInstance, event: dg.DagsterEvent) -> None:
    """Do to the host's dynamic partitions what the body did to the driver's."""
    if event.event_type != DagsterEventType.ENGINE_EVENT or event.engine_event_data is None:
        return
    told = event.engine_event_data.metadata
    if _PARTITIONS not in told:
        return
    change: Any = told[_PARTITIONS].value
    if change["added"]:
        instance.add_dynamic_partitions(change["name"], change["added"])
    for key in change["deleted"]:
        instance.delete_dynamic_partition(change["name"], key)


def _input_versions(context: StepExecutionContext) -> dict[str, Any]:
    """What Dagster would record as provenance of the step's inputs, read from the host's event log.

    The driver's own instance is empty. For partitioned inputs the version is of the mapped partitions.
    """
    if not context.is_sda_step:
        return {}
    context.fetch_external_input_asset_version_info()
    outputs = context.get_output_asset_keys()
    layer = context.job_def.asset_layer
    own = {key for out in outputs if layer.has(out) for key in layer.get(out).parent_keys if key in outputs}
    for key in own:
        context.maybe_fetch_and_get_input_asset_version_info(key)
    found = {}
    for key, info in (context.input_asset_records or {}).items():
        version = info and {
            **asdict(info),
            "event_type": info.event_type.value,
            "data_version": info.data_version.value if info.data_version else None,
        }
        found[key.to_user_string()] = version
    return found


def _dynamic_partitions(context: StepExecutionContext) -> dict[str, list[str]]:
    layer = context.job_def.asset_layer
    keys = {
        key
        for out in context.get_output_asset_keys()
        if layer.has(out)
        for key in (out, *layer.get(out).parent_keys)
    }
    names = {name for key in keys if layer.has(key) for name in _dynamic_names(layer.get(key).partitions_def)}
    return {name: list(context.instance.get_dynamic_partitions(name)) for name in sorted(names)}


def _dynamic_names(definition: dg.PartitionsDefinition | None) -> Iterator[str]:
    if isinstance(definition, DynamicPartitionsDefinition) and definition.name:
        yield definition.name
    if isinstance(definition, MultiPartitionsDefinition):
        for dimension in definition.partitions_defs:
            yield from _dynamic_names(dimension.partitions_def)


def _with_host_pointers(context: StepExecutionContext, entry: dg.EventLogEntry) -> dg.EventLogEntry:
    """Provenance among the outputs of one step points to rows of the driver's event log; use the host's."""
    event = entry.dagster_event
    if event is None or event.event_type != DagsterEventType.ASSET_MATERIALIZATION:
        return entry
    materialization = event.step_materialization_data.materialization
    outputs = context.get_output_asset_keys()
    tags, changed = dict(materialization.tags or {}), False
    for key in outputs - {materialization.asset_key}:
        tag = f"{_POINTER}{key.to_user_string()}"
        latest = context.instance.get_latest_data_version_record(key) if tag in tags else None
        if latest is not None:
            tags[tag], changed = str(latest.storage_id), True
    if not changed:
        return entry
    data = event.step_materialization_data._replace(materialization=materialization._replace(tags=tags))
    return entry._replace(dagster_event=event._replace(event_specific_data=data))


# In the driver -------------------------------------------------------------------------------------------


def run(description: str, emit: Callable[[str], None], ready: Callable[[], None]) -> bool:
    """Run the described step in this process, and emit every entry of its log. True: it succeeded.

    `ready` is called once the definitions are loaded and the resources stand; what is raised before comes
    from them and not from the step. Raises ConfigError where this process has another Dagster version.
    """
    step = json.loads(description)
    if step["dagster"] != dg.__version__:
        raise OtherCodeError(
            f"the host runs Dagster {step['dagster']}, this driver {dg.__version__}: use one image for both"
        )
    if step["platform"] != VERSION:
        raise OtherCodeError(
            f"the host runs Asgard {step['platform']}, this driver {VERSION}: use one version for both"
        )
    if step["code"] != fingerprint():
        raise OtherCodeError(
            f"the host's code is {step['code']}, this driver's {fingerprint()}: build the image from the host's code"
        )
    dagster_run = dg.deserialize_value(step["run"], dg.DagsterRun)
    job = dg.deserialize_value(step["job"], ReconstructableJob)
    known_state = dg.deserialize_value(step["known_state"])
    with dg.DagsterInstance.ephemeral() as instance:
        for name, keys in step["dynamic_partitions"].items():
            instance.add_dynamic_partitions(name, keys)
        plan = create_execution_plan(
            job,
            step["run_config"],
            step_keys_to_execute=[step["step_key"]],
            known_state=known_state,  # pyright: ignore[reportArgumentType]
            repository_load_data=job.repository.repository_load_data,
        )
        manager = PlanExecutionContextManager(
            job=job,
            execution_plan=plan,
            run_config=step["run_config"],
            dagster_run=dagster_run,
            instance=instance,
            retry_mode=RetryMode(step["retry_mode"]).for_inner_plan(),
        )
        for _ in manager.prepare_context():
            pass
        ready()
        succeeded = False
        try:
            context = manager.get_context().for_step(
                plan.get_step_by_key(step["step_key"]),  # pyright: ignore[reportArgumentType]
                known_state,  # pyright: ignore[reportArgumentType]
            )
            context._data_version_cache = _HostVersions(context, step["inputs"])  # noqa: SLF001
            # Only now: what the resources log while they start is on the host's log already.
            instance.add_event_listener(dagster_run.run_id, lambda entry: emit(dg.serialize_value(entry)))
            _tell_partitions(context)
            refuse_careless(Lake.from_settings())
            for event in dagster_event_sequence_for_step(context, force_local_execution=True):
                succeeded |= event.is_step_success
        finally:
            for _ in manager.shutdown_context():
                pass
    return succeeded


def _tell_partitions(context: StepExecutionContext) -> None:
    """From now on, dynamic partitions that the body adds or deletes are told to the host as events."""
    instance = context.instance
    add, delete = instance.add_dynamic_partitions, instance.delete_dynamic_partition

    def tell(name: str, message: str, **change: list[str]) -> None:
        told = {"name": name, "added": [], "deleted": [], **change}
        announce(context, message, {_PARTITIONS: dg.JsonMetadataValue(told)})

    def adding(partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        add(partitions_def_name, partition_keys)
        tell(
            partitions_def_name,
            f"Added {len(partition_keys)} partitions to {partitions_def_name}",
            added=list(partition_keys),
        )

    def deleting(partitions_def_name: str, partition_key: str) -> None:
        delete(partitions_def_name, partition_key)
        tell(partitions_def_name, f"Deleted a partition of {partitions_def_name}", deleted=[partition_key])

    instance.add_dynamic_partitions = adding
    instance.delete_dynamic_partition = deleting


class _HostVersions(DataVersionCache):
    """Versions of the inputs as the host saw them when it launched the step."""

    def __init__(self, context: StepExecutionContext, found: Mapping[str, Any]) -> None:
        super().__init__(context)
        self._own = context.get_output_asset_keys()
        self._known = {
            dg.AssetKey.from_user_string(key): info
            and InputAssetVersionInfo(
                info["storage_id"],
                DagsterEventType(info["event_type"]),
                DataVersion(info["data_version"]) if info["data_version"] is not None else None,
                info["run_id"],
                info["timestamp"],
            )
            for key, info in found.items()
        }

    def _fetch_input_asset_version_info(self, asset_keys: Any) -> None:
        for key in asset_keys:
            # What this step itself has just materialized is newer than what the host knew.
            if key in self._own or key not in self._known:
                super()._fetch_input_asset_version_info([key])
            if self.input_asset_version_info.get(key) is None:
                self.input_asset_version_info[key] = self._known.get(key)
