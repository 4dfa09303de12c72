"""Our read of the online store gives what Feast's own gives: every type, missing keys, keys twice, keys of two columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from asgard_assets.lake import Lake
from asgard_assets.ml.managed.features import serve
from asgard_assets.ml.managed.repository import ManagedRepository
from asgard_assets.ml.managed.views import ManagedView, columns, views
from asgard_assets.ml.store import configured, open_store
from asgard_assets.operations.serving.online import OnlineReader
from asgard_assets.settings import Settings

ROWS = pa.table(
    {
        "id": [1, 2, -3], "code": ["a", "b", "ü"], "whole": [7, None, 2**62], "part": [0.5, -1.25, None],
        "text": ["x", "", None], "yes": [True, False, None],
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        (["id"], {"id": [2, 1, 9, 2, -3]}),
        (["code"], {"code": ["ü", "nobody", "a"]}),
        (["id", "code"], {"id": [1, 1, -3], "code": ["a", "b", "ü"]}),
    ],
    ids=["a number", "a text", "two columns"],
)
def test_a_read_is_what_feasts_own_read_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: list[str], asked: dict[str, list[int | str]]
):
    from feast import FeatureStore

    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "home"))
    settings = Settings()
    lake = Lake.from_settings(settings)
    staging = lake.stage("gold", "things", ROWS.schema, whole=True)
    lake.write(staging, ROWS)
    lake.publish(staging)
    described = columns(lake, "gold", "things").described("gold.things", key, ())
    view = views(lake).save(ManagedView.model_validate({"name": "things", "table": "gold/things", **described})).document  # fmt: skip
    repository = ManagedRepository([view])
    with open_store(settings, repository) as store:
        serve(store, view)
    names = list(view.features)
    rows = [dict(zip(asked, values, strict=True)) for values in zip(*asked.values(), strict=True)]
    own = FeatureStore(config=configured(settings, repository))
    expected = own.get_online_features([f"things:{name}" for name in names], rows).to_dict()
    found = OnlineReader(configured(settings, repository)).read("things", names, asked)
    assert found == {name: expected[name] for name in names}
    assert any(value is not None for value in found["whole"])
