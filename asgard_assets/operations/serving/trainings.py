"""Training scripts by API: checked, kept, and queued as runs that make versions of a model."""

from __future__ import annotations

import ast
import base64
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.ml.managed.trainings import MOST_CHARACTERS, Training, trainings, views_for
from asgard_assets.ml.registry import Registry
from asgard_assets.ml.views import EVENT_TIME, FeatureViewSpec
from asgard_assets.operations.transforms.follow import Runs
from asgard_assets.operations.transforms.submissions import Submission, Submissions, queued, run_id_of
from asgard_assets.operations.transforms.submit import workspace_of
from asgard_assets.settings import Settings

_TABLE = re.compile(r"(?:iceberg\.)?(bronze|silver|gold)[./]([a-z][a-z0-9_]{0,62})")
_KNOWN_SECONDS = 2.0


@dataclass(frozen=True)
class WantedModel:
    """A model as it was asked for. `script`: base64."""

    name: str
    script: str
    views: tuple[str, ...] = ()
    labels: str = ""
    promote: bool = True
    workspace: str = "default"
    account: str = ""
    idempotency_key: str = ""


@dataclass(frozen=True)
class TrainingRun:
    """A run that trains a model. `model_version`: the version that it made; None: not yet."""

    run_id: str
    model_name: str
    state: str
    creation_time: str
    start_time: str | None
    end_time: str | None
    model_version: int | None
    reason: str
    dagster_run_id: str | None


@dataclass
class Trainings:
    """The models of a lake that scripts train."""

    lake: Lake
    settings: Settings
    submissions: Submissions
    runs: Runs
    project: Callable[[], Mapping[str, FeatureViewSpec]]
    clock: Callable[[], float] = time.time
    _places: tuple[float, dict[str, str]] = (-_KNOWN_SECONDS, {})

    def add(self, wanted: WantedModel) -> Submission:
        """Keep the script, and queue the run that trains.

        Raises ConfigError where scripts are not allowed, or the script, its views or labels are wrong, ConflictError where
        the model's name is taken.
        """
        if not self.settings.gateway_training:
            raise ConfigError(
                "scripts are not run here: whoever runs the gateway may set ASGARD_GATEWAY_TRAINING=true"
            )
        training = Training(
            name=wanted.name, script=_script(wanted.script), views=self._views(wanted), labels=self._labels(wanted),
            promote=wanted.promote, workspace=wanted.workspace, owner=wanted.account,
        )  # fmt: skip
        kept = trainings(self.lake)
        known = kept.find(wanted.name)
        if known is None and Registry.from_settings(wanted.name, self.settings).versions():
            raise ConflictError(
                f"the model {wanted.name} is of the project's own files; choose another model_name"
            )
        if known and known.document.workspace != wanted.workspace:
            raise ConflictError(
                f"the model {wanted.name} belongs to another workspace; choose another model_name"
            )
        run_id, table = run_id_of(wanted.account, wanted.idempotency_key), f"model/{wanted.name}"
        if (earlier := self.submissions.get(run_id)) is not None:
            if earlier.table != table or kept.load(wanted.name, earlier.revision).document != training:
                raise ConflictError(
                    "this Idempotency-Key was sent before with another request; send a new key"
                )
            return earlier
        revision = kept.save(training).number
        run = Submission(run_id, table, revision, self.clock(), wanted.workspace, wanted.account)
        return queued(self.submissions, run)

    def run(self, run_id: str, sees: Callable[[str], bool]) -> TrainingRun:
        """Raises NotFoundError where there is no such run, or it trains no model."""
        status = self.runs.status(run_id, sees)
        if not status.output_table.startswith("model."):
            raise NotFoundError(f"there is no training {run_id[:40]!r}")
        version = self.runs.made(run_id).get("model_version") if status.state == "COMPLETED" else None
        return TrainingRun(
            run_id, status.output_table.partition(".")[2], status.state, status.creation_time, status.start_time,
            status.end_time, version, status.reason, status.dagster_run_id,
        )  # fmt: skip

    def seen(self, model: str, sees: Callable[[str], bool]) -> bool:
        """Whether the caller may see a model: of the project's files, or of a workspace that he sees."""
        now = time.monotonic()
        if now - self._places[0] > _KNOWN_SECONDS:
            found = {one.document.name: one.document.workspace for one in trainings(self.lake).newest()}
            self._places = (now, found)
        place = self._places[1].get(model)
        return place is None or sees(place)

    def _views(self, wanted: WantedModel) -> tuple[str, ...]:
        known = views_for(self.lake, self.project())
        mine = {name: one for name, one in known.items() if one.workspace in ("", wanted.workspace)}
        if unknown := [name for name in wanted.views if name not in mine]:
            raise ConfigError(
                f"features: there is no feature view {', '.join(unknown)[:200]}; there are {', '.join(sorted(mine))[:500] or 'none'}"
            )
        chosen = wanted.views or tuple(name for name, one in sorted(mine.items()) if one.workspace)
        if not chosen:
            raise ConfigError("features: there are none yet: send them with POST /feast/features")
        keys = {tuple(mine[name].keys): name for name in chosen}
        if len(keys) > 1:
            told = ", ".join(f"{name} by {' and '.join(key)}" for key, name in keys.items())
            raise ConfigError(f"features: name feature views with one key; there are {told[:500]}")
        return chosen

    def _labels(self, wanted: WantedModel) -> str:
        if not wanted.labels:
            return ""
        match = _TABLE.fullmatch(wanted.labels.lower())
        table = self.lake.table(match[1], match[2]) if match else None
        if (
            match is None
            or table is None
            or workspace_of(self.lake, f"{match[1]}/{match[2]}") not in ("", wanted.workspace)
        ):
            raise ConfigError(
                f"labels: {wanted.labels[:100]!r} is no table that this workspace may read; write stage.table"
            )
        if EVENT_TIME not in {field.name for field in table.schema().fields}:
            raise ConfigError(
                f"labels: {wanted.labels[:100]} needs the column {EVENT_TIME}: as of when features are wanted"
            )
        return f"{match[1]}/{match[2]}"


def _script(encoded: str) -> str:
    """Raises ConfigError where it is no base64, no text or no Python."""
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except ValueError as error:
        raise ConfigError("script_content: it is no text in base64") from error
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise ConfigError(f"script_content: line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError("script_content: it is no Python") from error
    if not text.strip() or len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"script_content: a script has 1 to {MOST_CHARACTERS:,} characters, not {len(text):,}"
        )
    return text
