"""Runs Spark steps on a Spark Connect server that is warm already: the body here, its jobs there."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from asgard_assets.resources import steps
from asgard_assets.resources.connect.lease import Borrower, Lease


class ConnectStepLauncher(dg.ConfigurableResource, dg.StepLauncher):
    """Runs a step's body in this process, and lends it a session on the Spark Connect server of the settings."""

    def launch_step(self, step_context: steps.StepExecutionContext) -> Iterator[dg.DagsterEvent]:
        """Run the step; yields its events. A cancelled or failed step's Spark jobs are ended before it returns."""
        lease = Lease(steps.owner(step_context))
        with lease.held():
            lent = [each for each in steps.resources_of(step_context) if isinstance(each, Borrower)]
            for borrower in lent:
                borrower.lend(lease)
            try:
                yield from steps.here(step_context)
            finally:
                for borrower in lent:
                    borrower.lend(None)
