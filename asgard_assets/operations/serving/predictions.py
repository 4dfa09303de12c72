"""Models as they answer: the versions of each, and what one predicts for rows that are sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.ml.registry import Registry, Version
from asgard_assets.settings import Settings

MOST_ROWS = 10_000
_KNOWN_SECONDS = 2.0
_MOST_LOADED = 4
Inputs = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ModelStatus:
    """A registered model: its versions, and which is the champion. None: there is none yet."""

    name: str
    versions: tuple[int, ...]
    champion: int | None


@dataclass(frozen=True)
class Prediction:
    """What a version predicts, one value a row, in the order of the rows."""

    model_name: str
    model_version: int
    predictions: tuple[Any, ...]


class Models:
    """Loads each version once, and keeps a few. A new champion answers within two seconds."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock, self._lock = settings, clock, threading.Lock()
        self._champions: dict[str, tuple[float, Version]] = {}
        self._loaded: dict[tuple[str, int], tuple[Any, list[str]]] = {}

    def status(self) -> list[ModelStatus]:
        """Every registered model, by name."""
        names = [one.name for one in self._registry("").client.search_registered_models()]
        return [self._status(name) for name in sorted(names)]

    def predict(self, name: str, inputs: Inputs, version: int | None = None) -> Prediction:
        """Raises NotFoundError where there is no such model or version, ConfigError where the inputs do not fit."""
        chosen = self._champion(name) if version is None else self._version(name, version)
        model, columns = self._model(name, chosen)
        frame = _frame(inputs, columns)
        try:
            values = model.predict_proba(frame)[:, 1] if _is_binary(model) else model.predict(frame)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"inputs: the model cannot read them: {str(error)[:300]}") from error
        return Prediction(name, chosen.number, tuple(values.tolist()))

    def _status(self, name: str) -> ModelStatus:
        registry = self._registry(name)
        champion = registry.champion_or_none()
        return ModelStatus(
            name, tuple(one.number for one in registry.versions()), champion.number if champion else None
        )

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


def _is_binary(model: Any) -> bool:
    return hasattr(model, "predict_proba") and len(getattr(model, "classes_", ())) == 2
