"""Training scripts that were sent to the API: their definitions, and how a run of one becomes a model.

A script runs in a process of its own (`jail`). It finds point-in-time features as a Parquet file under ASGARD_FEATURES. It
leaves a fitted model in the variable `model`, or as a skops file under ASGARD_MODEL; numbers in the variable `metrics`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from pydantic import ConfigDict, Field

from asgard_assets.errors import ModelError
from asgard_assets.lake.store import Store
from asgard_assets.ml.managed import jail
from asgard_assets.ml.managed.views import ManagedView, views
from asgard_assets.ml.views import FeatureViewSpec
from asgard_assets.quality.tables import Model
from asgard_assets.revisions import NAME, Revisions

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "_managed/trainings"
MOST_CHARACTERS = 200_000
_MOST_PRINTED = 100_000
_MOST_METRICS = 100
_LARGEST_MODEL = 1 << 30


class Training(Model):
    """One revision of a model that is trained by a script."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    name: str = Field(pattern=NAME, description="Name of the model.")
    script: str = Field(max_length=MOST_CHARACTERS, description="The Python script.")
    views: tuple[str, ...] = Field(min_length=1, description="Feature views whose features it reads.")
    labels: str = Field(default="", description="Table whose rows say when and of whom, as stage/name.")
    promote: bool = Field(default=True, description="Whether a version that passes becomes the champion.")
    workspace: str = Field(default="default", description="Workspace that the model belongs to.")
    owner: str = Field(default="", description="Who sent it: an account of the gateway.")


def views_for(store: Store, project: Mapping[str, FeatureViewSpec]) -> dict[str, ManagedView]:
    """Every feature view that a script may be given, by name: those that were sent, and the project's."""
    sent = {one.document.name: one.document for one in views(store).newest()}
    return sent | {name: ManagedView.of_project(one) for name, one in project.items()}


def trainings(store: Store) -> Revisions[Training]:
    """The trainings of a lake."""
    return Revisions(store, FOLDER, Training, "the training of")


@dataclass(frozen=True)
class Limits:
    """What a script may use."""

    seconds: float
    memory_gb: float


@dataclass(frozen=True)
class Trained:
    """What a script left: its fitted model, its figures, and what it printed."""

    model: Any
    metrics: Mapping[str, float]
    printed: str


def run_script(name: str, script: str, features: pa.Table, folder: Path, limits: Limits) -> Trained:
    """Run it in `folder`, which is empty. Raises ModelError with the script's last lines where it leaves no model."""
    import pyarrow.parquet as pq

    from asgard_assets.ml.artifacts import read_model

    files = {
        name: folder / name
        for name in ("script.py", "features.parquet", "model.skops", "metrics.json", "printed.txt")
    }
    files["script.py"].write_text(script)
    pq.write_table(features, files["features.parquet"])
    code = _run(files, folder, limits)
    with files["printed.txt"].open(errors="replace") as told:
        printed = told.read(_MOST_PRINTED)
    last = "\n".join(printed.strip().splitlines()[-12:])
    if code is None:
        raise ModelError(
            f"the script of {name} did not end within {limits.seconds:g} s (ASGARD_GATEWAY_TRAINING_SECONDS)"
        )
    if code == jail.NOT_CLOSED:
        raise ModelError(f"the script of {name} was not started: {last}")
    if code:
        why = (
            f"was ended by signal {-code}: too much memory or time?"
            if code < 0
            else f"failed with exit code {code}"
        )
        raise ModelError(f"the script of {name} {why}\n{last}")
    if not files["model.skops"].is_file():
        raise ModelError(
            f"the script of {name} left no model: put the fitted model into the variable `model`, or write it with "
            f"skops.io.dump to the path in ASGARD_MODEL\n{last}"
        )
    _refuse_bomb(name, files["model.skops"])
    model = read_model(files["model.skops"], f"the model of the script of {name}", name)
    return Trained(model, _metrics(files["metrics.json"]), printed)


def _run(files: Mapping[str, Path], folder: Path, limits: Limits) -> int | None:
    """The exit code; None where it took too long. The script gets no variable of this process but those named here."""
    environment = {
        "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder), "TZ": "UTC",
        "ASGARD_FEATURES": str(files["features.parquet"]), "ASGARD_MODEL": str(files["model.skops"]),
        "ASGARD_METRICS": str(files["metrics.json"]), "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2",
        "JOBLIB_MULTIPROCESSING": "0", "LOKY_MAX_CPU_COUNT": "1", "MPLCONFIGDIR": str(folder),
    }  # fmt: skip
    closed = json.dumps(
        {"folder": str(folder), "memory": int(limits.memory_gb * 2**30), "seconds": int(limits.seconds) + 1}
    )
    command = [sys.executable, "-I", jail.__file__, closed, str(files["script.py"])]
    with files["printed.txt"].open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return None
        except BaseException:
            os.killpg(process.pid, 9)
            raise


def _refuse_bomb(name: str, file: Path) -> None:
    """Raises ModelError where the file would unpack to more than is held in memory."""
    with suppress(BadZipFile), ZipFile(file) as found:
        if sum(one.file_size for one in found.infolist()) > _LARGEST_MODEL:
            raise ModelError(f"the model of the script of {name} has more than {_LARGEST_MODEL >> 20:,} MB")


def _metrics(file: Path) -> dict[str, float]:
    """The figures; what is none is left out."""
    try:
        told = json.loads(file.read_bytes()[:_MOST_PRINTED])
        return {str(name)[:100]: float(value) for name, value in list(told.items())[:_MOST_METRICS]}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
