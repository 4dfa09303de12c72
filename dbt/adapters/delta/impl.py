"""The adapter: dbt-duckdb's, with the two doors that the macros go through, and publishing at the run's end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dbt.adapters.base.meta import available
from dbt.adapters.duckdb.impl import DuckDBAdapter
from dbt.flags import get_flags
from dbt.node_types import RunHookType
from dbt.task.run import RunTask
from dbt_common.events.base_types import EventLevel
from dbt_common.events.functions import fire_event
from dbt_common.events.types import Note
from dbt_common.exceptions import DbtRuntimeError
from dbt_common.invocation import get_invocation_id

from asgard_assets.errors import AsgardError
from dbt.adapters.delta.connections import DeltaConnectionManager
from dbt.adapters.delta.publish import publish
from dbt.adapters.delta.show import Shown, Told
from dbt.adapters.delta.stage import Staged, stage

# Commands whose selection tells what they read; the others may read anything.
_HOOKED = ("build", "run", "test", "seed", "snapshot", "retry")


class DeltaAdapter(DuckDBAdapter):
    """One per dbt process."""

    ConnectionManager = DeltaConnectionManager

    def __init__(self, config: Any, mp_context: Any) -> None:
        credentials = config.credentials
        credentials.lake = credentials.lake or getattr(config, "cli_vars", {}).get("lake") or ""
        type(credentials).project = getattr(config, "project_root", "") or ""
        super().__init__(config, mp_context)
        # In a process that runs several commands, each begins with a database of its own.
        self.ConnectionManager.close_all_connections()
        self.lake = credentials.opened()
        self.shown = Shown(self.lake, credentials.database)
        self.staged: dict[str, Staged] = {}
        self._told = False
        self.chosen: list[str] = []
        self.told = Told()

    @available.parse_none
    def delta_begin(self, graph: Any, selected: Any, command: str, full_refresh: bool) -> None:
        """Show each table and view that the run reads and does not build."""
        if command not in _HOOKED:
            return  # docs, compile: `execute` shows everything
        self._told = True
        with _clear_errors():
            # `dbt retry` has a queue of its own, and tells its hooks nothing of it.
            chosen = self.chosen or list(selected)
            for relation in self.shown.for_run(self._cursor, graph, chosen, command, full_refresh, self.told):
                self.cache_added(self.Relation.create(**relation))

    @available.parse_none
    def delta_stage(self, model: Any, target: Any, rows: Any, asked: Any) -> None:
        """Write a model's rows into its table's staging folder, and show the table as it will be."""
        with _clear_errors():
            self.lake.patiently(
                lambda: stage(self._cursor, self.lake, self.staged, model, target, rows, asked)
            )

    def publish(self, graph: Any, results: Any, command: str, invocation_id: str) -> None:
        """Commit what passed and log it. Raises where a table that passed could not be committed."""
        target = Path(self.config.project_root, self.config.project_target_path)
        with _clear_errors():
            told = publish(
                self._cursor, self.shown, self.staged, graph, results, command, invocation_id, target
            )
        self.staged.clear()
        for message in told["messages"]:
            fire_event(Note(msg=message), level=EventLevel.INFO)
        if told["errors"]:
            raise DbtRuntimeError("\n".join(told["errors"]))

    def execute(self, sql: str, *args: Any, **kwargs: Any) -> Any:
        if not self._told and get_flags().WHICH not in _HOOKED:
            # compile, show, docs, run-operation: everything there is.
            self._told = True
            if self._macro_resolver is not None:
                with _clear_errors():
                    self.shown.everything(self._cursor, self._macro_resolver)
        return super().execute(sql, *args, **kwargs)

    @property
    def _cursor(self) -> Any:
        return self.connections.get_thread_connection().handle.cursor()


_run_hooks = RunTask.safe_run_hooks


def _publish_after_the_last_hook(task: Any, adapter: Any, hook_type: Any, extra_context: Any) -> Any:
    """A hook of dbt's own would be skipped where one before it fails, as one that grants rights does on DuckDB."""
    if isinstance(adapter, DeltaAdapter):
        adapter.chosen = [node.unique_id for node in task._flattened_nodes or ()]
        adapter.told = Told(_deferred(task.manifest), _text_of_hooks(task.manifest))
    try:
        return _run_hooks(task, adapter, hook_type, extra_context)
    finally:
        if hook_type == RunHookType.End and isinstance(adapter, DeltaAdapter):
            adapter.publish(
                task.manifest.flat_graph, extra_context["results"], get_flags().WHICH, get_invocation_id()
            )


def _deferred(manifest: Any) -> dict[str, tuple[str, str]]:
    """Where a node lies that `--defer` may take from another target."""
    relations = {u: getattr(node, "defer_relation", None) for u, node in manifest.nodes.items()}
    return {u: (found.schema, found.alias) for u, found in relations.items() if found}


def _text_of_hooks(manifest: Any) -> str:
    """The project's on-run-start and on-run-end, with the macros that they call."""
    hooks = [
        n for n in manifest.nodes.values() if n.resource_type == "operation" and n.package_name != "dbt_delta"
    ]
    texts, todo, seen = (
        [hook.raw_code for hook in hooks],
        [m for h in hooks for m in h.depends_on.macros],
        set(),
    )
    while todo:
        if (name := todo.pop()) in seen or name not in manifest.macros:
            continue
        seen.add(name)
        macro = manifest.macros[name]
        if macro.package_name not in ("dbt", "dbt_duckdb", "dbt_delta"):
            texts.append(macro.macro_sql)
            todo += macro.depends_on.macros
    return "\n".join(texts)


RunTask.safe_run_hooks = _publish_after_the_last_hook


class _clear_errors:
    """An error of the lake, said as dbt says its own: the sentence without a stack."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, AsgardError):
            raise DbtRuntimeError(error.message) from error
