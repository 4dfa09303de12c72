"""What this adapter uses of dbt-core beyond its adapter interface. Another engine is a port of this file.

| of dbt-core 1.11                                  | for what                                                          |
|---------------------------------------------------|-------------------------------------------------------------------|
| `RunTask.safe_run_hooks`                          | know what a run selects before it starts; publish after its hooks |
| `CloneTask.after_run`                             | keep the views that `dbt clone` makes                             |
| `RunOperationTask._run_unsafe`                    | keep what an operation wrote                                      |
| `GraphRunnableTask._flattened_nodes`              | the nodes of this run, in `dbt retry` too                         |
| `manifest.nodes`, `.macros`, `.flat_graph`        | configs, hooks, `defer_relation`, compiled SQL                    |
| results: `node`, `status`                         | what failed, warned or was skipped                                |
| `Profile.to_target_dict`                          | `target.type` is `duckdb` for a project's macros                  |
| `get_flags().WHICH`, `get_invocation_id`          | the command, and the run's id                                     |
| `fire_event(Note)`                                | say in dbt's log what was published                               |
| `on-run-start` of the package `dbt_delta`         | show the lake before the project's own hooks                      |

docs/decisions/0008-dbt-engine.md says what would be lost with an engine that has none of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from dbt.adapters.factory import get_adapter
from dbt.config.profile import Profile
from dbt.flags import get_flags
from dbt.node_types import RunHookType
from dbt.task.clone import CloneTask
from dbt.task.run import RunTask
from dbt.task.run_operation import RunOperationTask
from dbt_common.events.base_types import EventLevel
from dbt_common.events.functions import fire_event
from dbt_common.events.types import Note
from dbt_common.invocation import get_invocation_id

_DIALECTS = ("dbt", "dbt_duckdb", "dbt_delta")


@dataclass(frozen=True)
class Told:
    """What dbt's graph does not tell: what runs, where nodes lie that it defers to, and what hooks read and say."""

    chosen: tuple[str, ...] = ()
    deferred: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    hooks: str = ""
    read_by_hooks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """What a command did: its results, the graph they belong to, and where its files go."""

    command: str
    invocation_id: str
    graph: Any
    results: list[Any]
    target: Path


class Adapter(Protocol):
    """What the adapter is told by this module."""

    def begin(self, told: Told) -> None: ...
    def end(self, ended: Ended) -> None: ...


def command() -> str:
    """The command that runs: `build`, `test`, `show`, …"""
    return get_flags().WHICH


def say(messages: Iterable[str]) -> None:
    for message in messages:
        fire_event(Note(msg=message), level=EventLevel.INFO)


def install(kind: type[Any]) -> None:
    """Tell adapters of this kind of the beginning and the end of each command. Once a process."""
    run_hooks, cloned, operate = RunTask.safe_run_hooks, CloneTask.after_run, RunOperationTask._run_unsafe

    def with_hooks(task: Any, adapter: Any, hook_type: Any, extra: Any) -> Any:
        # A hook of dbt's own would be skipped where one before it fails, as one that grants rights does on DuckDB.
        if not isinstance(adapter, kind):
            return run_hooks(task, adapter, hook_type, extra)
        if hook_type == RunHookType.Start:
            cast(Adapter, adapter).begin(_told(task))
        try:
            return run_hooks(task, adapter, hook_type, extra)
        finally:
            if hook_type == RunHookType.End:
                cast(Adapter, adapter).end(_ended(task, extra["results"]))

    def after_clone(task: Any, adapter: Any, results: Any) -> None:
        cloned(task, adapter, results)
        if isinstance(adapter, kind):
            cast(Adapter, adapter).end(_ended(task, task.node_results))

    def operation(task: Any, package_name: Any, macro_name: Any) -> Any:
        result = operate(task, package_name, macro_name)
        adapter = cast(Any, get_adapter(task.config))
        if isinstance(adapter, kind):
            with adapter.connection_named("publish"):
                cast(Adapter, adapter).end(_ended(task, []))
        return result

    RunTask.safe_run_hooks = with_hooks
    CloneTask.after_run = after_clone
    RunOperationTask._run_unsafe = operation


def speak_duckdb(kind: str) -> None:
    """`target.type` is what a project's macros ask for the SQL dialect: that of this kind of profile is DuckDB's."""
    to_dict: Callable[[Profile], dict[str, Any]] = Profile.to_target_dict

    def as_duckdb(profile: Profile) -> dict[str, Any]:
        target = to_dict(profile)
        return {**target, "type": "duckdb"} if target["type"] == kind else target

    Profile.to_target_dict = as_duckdb


def _told(task: Any) -> Told:
    chosen = tuple(node.unique_id for node in task._flattened_nodes or ())
    nodes = task.manifest.nodes
    relations = {unique_id: getattr(node, "defer_relation", None) for unique_id, node in nodes.items()}
    deferred = {unique_id: (found.schema, found.alias) for unique_id, found in relations.items() if found}
    hooks = [n for n in nodes.values() if n.resource_type == "operation" and n.package_name != "dbt_delta"]
    read = dict.fromkeys(parent for hook in hooks for parent in hook.depends_on.nodes)
    return Told(chosen, deferred, _text_of_hooks(task.manifest, hooks, chosen), tuple(read))


def _ended(task: Any, results: list[Any]) -> Ended:
    target = Path(task.config.project_root, task.config.project_target_path)
    return Ended(command(), get_invocation_id(), task.manifest.flat_graph, results, target)


def _text_of_hooks(manifest: Any, hooks: list[Any], chosen: Iterable[str]) -> str:
    """The project's on-run-start and on-run-end and the hooks of the chosen models, with the macros they call."""
    own = [node for unique_id in chosen if (node := manifest.nodes.get(unique_id)) and _hooks_of(node)]
    texts = [hook.raw_code for hook in hooks] + [hook.sql for node in own for hook in _hooks_of(node)]
    todo, seen = [m for node in (*hooks, *own) for m in node.depends_on.macros], set[str]()
    while todo:
        if (name := todo.pop()) in seen or name not in manifest.macros:
            continue
        seen.add(name)
        macro = manifest.macros[name]
        if macro.package_name not in _DIALECTS:
            texts.append(macro.macro_sql)
            todo += macro.depends_on.macros
    return "\n".join(texts)


def _hooks_of(node: Any) -> list[Any]:
    config = node.config
    return [*getattr(config, "pre_hook", ()), *getattr(config, "post_hook", ())]
