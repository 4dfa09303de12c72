"""From a stored training set to a registered, judged candidate. Nothing is promoted here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ModelError
from asgard_assets.lake import Lake
from asgard_assets.ml.inputs import entities, part
from asgard_assets.ml.judging import plots, verdict
from asgard_assets.ml.judging.outcomes import kind_of
from asgard_assets.ml.judging.verdict import Verdict
from asgard_assets.ml.moments import cut_off_name
from asgard_assets.ml.registry import Provenance, Registry, Version
from asgard_assets.ml.spec import ModelDefinition
from asgard_assets.ml.training import content_hash

if TYPE_CHECKING:
    import pyarrow as pa

# Source files that decide what a model is, beside its own: a change in one of them makes a new version.
CODE = ("judging/verdict.py", "judging/outcomes.py", "inputs.py", "training.py", "spec.py")


@dataclass(frozen=True)
class Candidate:
    """A registered version, the verdict on it, and whether the registry returns the model that was judged."""

    partition: str
    version: Version
    verdict: Verdict
    provenance: Provenance
    reloads: bool
    pictures: Mapping[str, bytes]


def stored(definition: ModelDefinition, lake: Lake, partition: str) -> tuple[pa.Table, int]:
    """The training set of one cut-off and the table's version. Raises ModelError where there is none."""
    stage, name = definition.spec.table_name("training_set")
    table = lake.table(stage, name)
    if table is None or not lake.epochs(stage, name, [partition])[partition]:
        named = f" for the {definition.spec.every} {partition}" if partition else ""
        raise ModelError(
            f"no training set{named}; materialize [{stage}, {name}]{' for it' * bool(named)} first"
        )
    where = f" where ds = '{partition}'" if partition else ""
    with lake.connect() as connection:
        rows = connection.sql(f"select * from {stage}.{name}{where}").to_arrow_table()
    return rows, table.version()


def train(definition: ModelDefinition, rows: pa.Table) -> Any:
    """The user's fit function on the training split. Raises ModelError where there is one outcome only."""
    x, y = part(definition, rows, "train")
    if len(set(y.tolist())) < 2:
        stage, name = definition.spec.table_name("training_set")
        raise ModelError(
            f"the {len(y)} training rows hold one outcome only; check the labels in {stage}/{name}"
        )
    return definition.fit(x, y, entities(definition, rows, "train"))


def propose(definition: ModelDefinition, lake: Lake, registry: Registry, partition: str) -> Candidate:
    """Train, judge against the champion of earlier cut-offs on this cut-off's validation rows, register.

    Deterministic: the same rows and code give the same model, and so the version that exists already.
    """
    import numpy as np

    kind = kind_of(definition.spec.task)
    rows, version = stored(definition, lake, partition)
    end = cut_off_name(
        definition.spec.cut_off(partition) if partition else rows["cut_off"][0].as_py(), definition.spec.every
    )
    rival = registry.champion_before(end)
    fitted = train(definition, rows)
    judged = verdict.judge(
        definition, fitted, rows, registry.load(rival) if rival else None, rival.number if rival else None
    )
    x, y = part(definition, rows, "validation")
    p = kind.predict(fitted, x)
    pictures = plots.draw(definition.spec.task, y, p, verdict.importance(definition, fitted, rows))
    stage, name = definition.spec.table_name("training_set")
    provenance = Provenance(
        partition=partition,
        cut_off=end,
        data_hash=content_hash(rows, definition.keys),
        table=f"{stage}.{name}",
        table_path=f"lake:/{stage}/{name}",
        table_version=version,
        features_hash=definition.features_hash,
        code_version=code_version(definition),
    )
    params = {
        **chosen(fitted),
        "training_rows": part(definition, rows, "train")[0].shape[0],
        "validation_rows": len(y),
        "inputs": x.shape[1],
    }
    registered = registry.register(
        fitted,
        provenance,
        (x.head(5), kind.predict(fitted, x.head(5))),
        params,
        verdict.metrics(judged),
        pictures,
        definition.spec.description,
        rows,
    )
    again = kind.predict(registry.load(registered), x)
    return Candidate(
        partition, registered, judged, provenance, bool(np.allclose(p, again, rtol=1e-9)), pictures
    )


def chosen(model: Any) -> dict[str, Any]:
    """The settings of the last step of a fitted model, for MLflow: what a search has chosen is among them."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    found = last.get_params(deep=False) if hasattr(last, "get_params") else {}
    return {name: value for name, value in found.items() if isinstance(value, str | int | float)}


def code_version(definition: ModelDefinition) -> str:
    """Hash of what decides what a model is: its spec, its own code and the platform's."""
    folder = Path(__file__).parent
    parts = [definition.spec.code.encode(), definition.code.read_bytes()]
    parts += [(folder / name).read_bytes() for name in CODE]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
