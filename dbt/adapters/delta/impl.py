"""The adapter: dbt-duckdb's, with the two doors that the macros go through, and publishing at the run's end."""

from __future__ import annotations

from typing import Any

from dbt.adapters.base.meta import available
from dbt.adapters.duckdb.impl import DuckDBAdapter
from dbt_common.exceptions import DbtRuntimeError

from asgard_assets.errors import AsgardError
from dbt.adapters.delta import engine
from dbt.adapters.delta.beside import Beside
from dbt.adapters.delta.connections import DeltaConnectionManager
from dbt.adapters.delta.publish import publish
from dbt.adapters.delta.show import Shown
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
        self.beside = self.connections.beside = Beside(self.shown)
        self.shown.find = self.beside.find
        self.staged: dict[str, Staged] = {}
        self._everything = False
        self.told = engine.Told()

    def begin(self, told: engine.Told) -> None:
        self.told = told

    @available.parse_none
    def delta_begin(self, graph: Any, selected: Any, command: str, full_refresh: bool) -> None:
        """Show each table and view that the run reads and does not build."""
        if command not in _HOOKED:
            return  # docs, compile: `execute` shows everything
        self._everything = True
        with _clear_errors():
            # `dbt retry` has a queue of its own, and tells its hooks nothing of it.
            chosen = list(self.told.chosen or selected)
            for relation in self.shown.for_run(self._cursor, graph, chosen, command, full_refresh, self.told):
                self.cache_added(self.Relation.create(**relation))

    @available.parse_none
    def delta_stage(self, model: Any, target: Any, rows: Any, asked: Any) -> None:
        """Write a model's rows into its table's staging folder, and show the table as it will be."""
        with _clear_errors():
            self.lake.patiently(
                lambda: stage(self._cursor, self.lake, self.staged, model, target, rows, asked)
            )

    def end(self, ended: engine.Ended) -> None:
        """Commit what passed and log it. Raises where a table that passed could not be committed."""
        with _clear_errors():
            told = publish(self._cursor, self.shown, self.beside, self.staged, ended)
        self.staged.clear()
        engine.say(told["messages"])
        if told["errors"]:
            raise DbtRuntimeError("\n".join(told["errors"]))

    def execute(self, sql: str, *args: Any, **kwargs: Any) -> Any:
        if not self._everything and engine.command() not in _HOOKED:
            # compile, show, docs, run-operation: everything there is.
            self._everything = True
            if self._macro_resolver is not None:
                with _clear_errors():
                    self.shown.everything(self._cursor, self._macro_resolver)
        return super().execute(sql, *args, **kwargs)

    @property
    def _cursor(self) -> Any:
        return self.connections.get_thread_connection().handle.cursor()


engine.install(DeltaAdapter)
engine.speak_duckdb("delta")


class _clear_errors:
    """An error of the lake, said as dbt says its own: the sentence without a stack."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, AsgardError):
            raise DbtRuntimeError(error.message) from error
