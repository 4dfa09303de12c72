"""A step launcher whose drivers are plain Python processes: everything of the real one but the JVM."""

from __future__ import annotations

from pathlib import Path

from asgard_assets.resources.launcher import SparkStepLauncher
from asgard_assets.resources.steps import StepExecutionContext
from asgard_assets.spark.submit import LocalProcess, Submitter


class PythonLauncher(SparkStepLauncher):
    """A legitimate Submitter (a real process in a session of its own) that starts in two seconds."""

    def submitter(self, step_context: StepExecutionContext) -> Submitter:
        return LocalProcess(Path(self.folder) / "logs")
