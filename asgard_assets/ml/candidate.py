"""From a stored training set to a registered, judged candidate. Nothing is promoted here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard_assets.errors import ModelError
from asgard_assets.lake import Lake
from asgard_assets.ml import model, plots
from asgard_assets.ml.churn import churn_views, cut_off
from asgard_assets.ml.inputs import part
from asgard_assets.ml.model import Verdict
from asgard_assets.ml.registry import Provenance, Registry, Version
from asgard_assets.ml.training import content_hash
from asgard_assets.ml.views import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = ("model", "churn_training_set")


@dataclass(frozen=True)
class Candidate:
    """A registered version, the verdict on it, and whether the registry returns the model that was judged."""

    partition: str
    version: Version
    verdict: Verdict
    provenance: Provenance
    reloads: bool
    pictures: Mapping[str, bytes]


def stored(lake: Lake, partition: str) -> tuple[pa.Table, int]:
    """The training set of one cut-off and the table's version. Raises ModelError where there is none."""
    table = lake.table(*TABLE)
    if table is None or not lake.epochs(*TABLE, [partition])[partition]:
        raise ModelError(
            f"no training set for the week {partition}; materialize [model, churn_training_set] for it first"
        )
    with lake.connect() as connection:
        rows = connection.sql(
            f"select * from model.churn_training_set where ds = '{partition}'"
        ).to_arrow_table()
    return rows, table.version()


def propose(lake: Lake, registry: Registry, partition: str) -> Candidate:
    """Train, judge against the champion of earlier cut-offs on this cut-off's validation rows, register.

    Deterministic: the same rows and code give the same model, and so the version that exists already.
    """
    import numpy as np

    rows, version = stored(lake, partition)
    end = f"{cut_off(partition):%Y-%m-%d}"
    rival = registry.champion_before(end)
    fitted = model.train(rows)
    verdict = model.judge(
        fitted, rows, registry.load(rival) if rival else None, rival.number if rival else None
    )
    x, y = part(rows, "validation")
    p = model.probabilities(fitted, x)
    pictures = plots.draw(y, p, model.importance(fitted, rows))
    provenance = Provenance(
        partition=partition,
        cut_off=end,
        data_hash=content_hash(rows),
        table_path=lake.path(*TABLE),
        table_version=version,
        features_hash=fingerprint(churn_views()),
        code_version=model.code_version(),
    )
    params = {
        "C": model.regularization(fitted),
        "training_rows": part(rows, "train")[0].shape[0],
        "validation_rows": len(y),
        "inputs": x.shape[1],
    }
    registered = registry.register(fitted, provenance, x.head(5), params, model.metrics(verdict), pictures)
    again = model.probabilities(registry.load(registered), x)
    return Candidate(
        partition, registered, verdict, provenance, bool(np.allclose(p, again, rtol=1e-9)), pictures
    )
