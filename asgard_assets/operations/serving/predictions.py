"""Models as they answer: the versions of each, and what one predicts for rows that are sent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asgard_assets.errors import ConfigError, ModelError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.ml.registry import Registry, Version
from asgard_assets.ml.served.notes import Notes
from asgard_assets.ml.served.tally import SHIFT, Column, Shadow, bins, drift
from asgard_assets.operations.serving.recorder import Recorder
from asgard_assets.settings import Settings

log = logging.getLogger(__name__)

MOST_ROWS = 10_000
_KNOWN_SECONDS = 2.0
_MOST_LOADED = 4
Inputs = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Served:
    """What the champion was asked on the last days with requests. `drift`: distance from the training set by input; above 0.25
    is a shift. Empty: too few rows."""

    rows: int
    drift: dict[str, float]
    drifted: tuple[str, ...]
    shadow: Shadow | None


@dataclass(frozen=True)
class ModelStatus:
    """A registered model: its versions, and which is the champion. None: there is none yet. `metrics`: of its training."""

    name: str
    versions: tuple[int, ...]
    champion: int | None
    served: Served | None = None
    metrics: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Prediction:
    """What a version predicts, one value a row, in the order of the rows. `shadow_version`: who was asked beside it."""

    model_name: str
    model_version: int
    predictions: tuple[Any, ...]
    shadow_version: int | None = None


class Models:
    """Loads each version once, and keeps a few. A new champion answers within two seconds."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock, self._lock = settings, clock, threading.Lock()
        self._champions: dict[str, tuple[float, Version]] = {}
        self._newests: dict[str, tuple[float, Version | None]] = {}
        self.recorder = Recorder(Notes(Lake.from_settings(settings)), self._trained)
        self._loaded: dict[tuple[str, int], tuple[Any, list[str]]] = {}

    def status(self) -> list[ModelStatus]:
        """Every registered model, by name."""
        names = [one.name for one in self._registry("").client.search_registered_models()]
        return [self._status(name) for name in sorted(names)]

    def predict(
        self, name: str, inputs: Inputs, version: int | None = None, shadow: bool = False
    ) -> Prediction:
        """`shadow`: let the newest version predict the rows as well; nobody sees its answers, and they are compared.

        Raises NotFoundError where there is no such model or version, ConfigError where the inputs do not fit.
        """
        chosen = self._champion(name) if version is None else self._version(name, version)
        model, columns = self._model(name, chosen)
        frame = _frame(inputs, columns)
        try:
            values = _predicted(model, frame)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"inputs: the model cannot read them: {str(error)[:300]}") from error
        beside = self._in_the_shadow(name, chosen, frame, values) if shadow else None
        self.recorder.asked(name, chosen.number, frame, beside)
        return Prediction(name, chosen.number, tuple(values.tolist()), beside.version if beside else None)

    def close(self) -> None:
        """Write what is not yet in the lake of what models were asked."""
        self.recorder.close()

    def _in_the_shadow(self, name: str, chosen: Version, frame: Any, values: Any) -> Shadow | None:
        """What the newest version says to the same rows. What it cannot answer is counted, and harms nobody."""
        newest = self._newest(name)
        if newest is None or newest.number == chosen.number:
            return None
        try:
            model, columns = self._model(name, newest)
            others = _predicted(model, frame[list(columns)] if columns else frame)
            differing = _differing(model, values, others)
        except Exception as error:  # noqa: BLE001  whatever another version can break
            log.warning("version %s of %s, in the shadow: %s", newest.number, name, str(error)[:300])
            return Shadow(version=newest.number, failed=1)
        return Shadow(version=newest.number, rows=len(frame), differing=differing)

    def _newest(self, name: str) -> Version | None:
        now, known = self._clock(), self._newests.get(name)
        if known is None or now - known[0] > _KNOWN_SECONDS:
            versions = self._registry(name).versions()
            known = self._newests[name] = (now, versions[-1] if versions else None)
        return known[1]

    def _trained(self, name: str, number: int) -> Mapping[str, Column]:
        """The bins of a version's training set; none where it was registered without its rows."""
        version = self._version(name, number)
        _, columns = self._model(name, version)
        try:
            return bins(self._registry(name).training_set(number).to_pandas(), columns)
        except ModelError as error:
            log.warning("drift of %s is not known: %s", name, error)
            return {}

    def _served(self, name: str, champion: int) -> Served:
        found = self.recorder.notes.read(name, champion)
        known = drift(found)
        return Served(
            found.rows, {column: round(value, 4) for column, value in known.items()},
            tuple(column for column, value in known.items() if value > SHIFT), found.shadow,
        )  # fmt: skip

    def _status(self, name: str) -> ModelStatus:
        registry = self._registry(name)
        champion = registry.champion_or_none()
        return ModelStatus(
            name, tuple(one.number for one in registry.versions()), champion.number if champion else None,
            self._served(name, champion.number) if champion else None,
            registry.metrics(champion) if champion else {},
        )  # fmt: skip

    def _registry(self, name: str) -> Registry:
        return Registry.from_settings(name, self._settings)

    def _champion(self, name: str) -> Version:
        now, known = self._clock(), self._champions.get(name)
        if known is None or now - known[0] > _KNOWN_SECONDS:
            found = self._registry(name).champion_or_none()
            if found is None:
                raise NotFoundError(f"there is no champion of a model {name!r}; see GET /mlops/status")
            known = self._champions[name] = (now, found)
        return known[1]

    def _version(self, name: str, number: int) -> Version:
        found = next((one for one in self._registry(name).versions() if one.number == number), None)
        if found is None:
            raise NotFoundError(f"there is no version {number} of a model {name!r}; see GET /mlops/status")
        return found

    def _model(self, name: str, version: Version) -> tuple[Any, list[str]]:
        """The fitted model, and the columns that it reads in order."""
        place = (name, version.number)
        with self._lock:
            if place not in self._loaded:
                model = self._registry(name).load(version)
                while len(self._loaded) >= _MOST_LOADED:
                    self._loaded.pop(next(iter(self._loaded)))
                self._loaded[place] = (model, [str(each) for each in getattr(model, "feature_names_in_", ())])
            return self._loaded[place]


def _frame(inputs: Inputs, columns: Sequence[str]) -> Any:
    """The rows as the model reads them. Raises ConfigError that names what is missing or too much."""
    import pandas as pd

    if isinstance(inputs, Mapping):
        lengths = {len(values) for values in inputs.values()}
        if len(lengths) != 1:
            raise ConfigError("inputs: every column needs the same number of values")
    given = set(inputs) if isinstance(inputs, Mapping) else {name for row in inputs for name in row}
    if columns and given != set(columns):
        missing, strange = sorted(set(columns) - given), sorted(given - set(columns))
        raise ConfigError(
            f"inputs: the model reads {', '.join(columns)}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; unknown: {', '.join(strange)[:300]}" if strange else "")
        )
    frame = pd.DataFrame(inputs if isinstance(inputs, Mapping) else list(inputs))
    if not 1 <= len(frame) <= MOST_ROWS:
        raise ConfigError(f"inputs: send 1 to {MOST_ROWS:,} rows, not {len(frame):,}")
    return frame[list(columns)] if columns else frame


def _predicted(model: Any, frame: Any) -> Any:
    return model.predict_proba(frame)[:, 1] if _is_binary(model) else model.predict(frame)


def _differing(model: Any, values: Any, others: Any) -> int:
    """Rows in which two versions say something else: another class, or a number more than 1 % apart."""
    import numpy as np

    if _is_binary(model):
        return int(((values >= 0.5) != (others >= 0.5)).sum())
    if np.issubdtype(np.asarray(values).dtype, np.floating):
        return int((~np.isclose(values, others, rtol=0.01)).sum())
    return int((values != others).sum())


def _is_binary(model: Any) -> bool:
    return hasattr(model, "predict_proba") and len(getattr(model, "classes_", ())) == 2
