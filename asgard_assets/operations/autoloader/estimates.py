"""Estimates of ingestions, with the stores and the history that they rest on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asgard_assets.components.platform.definitions import ManagedDefinition, tables_of
from asgard_assets.errors import AsgardError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader.estimate import Basis, CostEstimate, estimate, note
from asgard_assets.operations.autoloader.places import to_run
from asgard_assets.operations.history import History, history
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimates:
    """What ingestions cost."""

    lake: Lake
    landing: Landing
    settings: Settings
    instance: dg.DagsterInstance
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def of(self, one: ManagedDefinition, sees: Callable[[str], bool], keep: bool = False) -> CostEstimate:
        """With `keep` it is written down, and the next run says how good it was. Raises ConfigError or SourceError."""
        place = to_run(self.settings, one.cluster, sees)
        now = self.now()
        basis = Basis(self.lake, self.landing, place, self.settings, self._past(one), now, time.perf_counter)
        made = estimate(one, basis)
        if keep:
            note(self.lake, one.name, made, now)
        return made

    def keep(self, one: ManagedDefinition, sees: Callable[[str], bool]) -> None:
        """Estimate the run that is about to start. One that cannot be estimated starts all the same."""
        try:
            self.of(one, sees, keep=True)
        except (AsgardError, OSError) as error:
            log.info("%s: no estimate before its run: %s", one.name, error)

    def _past(self, one: ManagedDefinition) -> History:
        import dagster as dg

        runs = [history(self.instance, dg.AssetKey.from_user_string(table)).runs for table in tables_of(one)]
        return History([run for each in runs for run in each])
