"""Feature views are one YAML file each, and wrong ones are refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from asgard_assets.errors import ConfigError
from asgard_assets.ml.project import model_in
from asgard_assets.ml.views import Feature, FeatureViewSpec, feature_views, fingerprint
from asgard_assets.ml.window import judge
from tests.checkout import ROOT

VIEW = """
type: asgard_assets.components.feast.FeatureView
attributes:
  name: {name}
  description: How loyal a customer is.
  table: gold/customer_metrics
  entity: customer
  key: customer_id
  ttl_days: 7
  features:
    orders: {{type: bigint, required: true}}
"""


def view(**changes: object) -> FeatureViewSpec:
    fields = {
        "name": "loyalty",
        "description": "How loyal a customer is.",
        "table": "gold/customer_metrics",
        "entity": "customer",
        "key": "customer_id",
        "ttl_days": 2,
        "features": {"orders": Feature(type="bigint", required=True), "spend": Feature(type="double")},
    }
    return FeatureViewSpec.model_validate(fields | changes)


def pulled(*rows: tuple[int | None, int | None, float | None, int, int, str]) -> pa.Table:
    def moment(day: int) -> datetime:
        return datetime(2026, 10, day, tzinfo=UTC)

    return pa.table(
        {
            "customer_id": pa.array([r[0] for r in rows], pa.int64()),
            "orders": pa.array([r[1] for r in rows], pa.int64()),
            "spend": pa.array([r[2] for r in rows], pa.float64()),
            "event_timestamp": pa.array([moment(r[3]) for r in rows], pa.timestamp("us", "UTC")),
            "created_at": pa.array([moment(r[4]) for r in rows], pa.timestamp("us", "UTC")),
            "ds": [r[5] for r in rows],
        }
    )


DAY = "2026-10-05"


def broken(*rows: tuple, **changes: object) -> set[str]:
    _, found = judge(pulled(*rows), view(**changes), [DAY])
    return {check for check, days in found.items() if days[DAY]}


def test_the_project_has_the_views_that_the_churn_model_uses():
    churn = model_in(ROOT / "asgard_assets" / "defs" / "model" / "churn")
    assert set(churn.views) <= set(feature_views())
    numeric, categorical = churn.inputs
    assert "customer_activity__usage_slope_14d" in numeric and categorical == ["customer_value__plan"]
    assert "customer_activity__subscription" not in [*numeric, *categorical], "it is the condition"
    assert set([*numeric, *categorical]) < set(churn.feature_columns)


def test_a_new_view_is_one_file(tmp_path: Path):
    (tmp_path / "loyalty").mkdir()
    (tmp_path / "loyalty" / "defs.yaml").write_text(VIEW.format(name="loyalty"))
    assert list(feature_views(tmp_path)) == ["loyalty"]


def test_a_wrong_key_or_a_name_used_twice_names_the_file(tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "defs.yaml").write_text(VIEW.format(name="loyalty"))
    with pytest.raises(ConfigError, match=r"b/defs\.yaml.*twice"):
        feature_views(tmp_path)
    (tmp_path / "b" / "defs.yaml").write_text(VIEW.format(name="other") + "  ttl: 3\n")
    with pytest.raises(ConfigError, match=r"(?s)b/defs\.yaml.*ttl"):
        feature_views(tmp_path)


@pytest.mark.parametrize("name", ["delay_y", "ds", "created_at", "customer_id"])
def test_names_that_feast_would_lose_or_confuse_are_refused(name: str):
    with pytest.raises(ValidationError, match=name):
        view(features={name: Feature(type="double")})


def test_the_fingerprint_follows_the_definitions():
    views = feature_views()
    changed = views | {"customer_value": views["customer_value"].model_copy(update={"ttl_days": 8})}
    assert fingerprint(views) == fingerprint(dict(reversed(views.items()))) != fingerprint(changed)


def test_a_good_window_breaks_nothing():
    rows, _ = judge(pulled((1, 2, 3.0, 6, 6, DAY), (2, 2, None, 6, 6, DAY)), view(), [DAY, "2026-10-06"])
    assert rows == {DAY: 2, "2026-10-06": 0}
    assert broken((1, 2, 3.0, 6, 6, DAY), (2, 2, None, 6, 6, DAY)) == set()


@pytest.mark.parametrize(
    ("rows", "check"),
    [
        ([(1, 2, 3.0, 6, 6, DAY), (1, 2, 3.0, 6, 6, DAY)], "key_is_unique"),
        ([(None, 2, 3.0, 6, 6, DAY)], "key_is_unique"),
        ([(1, None, 3.0, 6, 6, DAY)], "required_features_are_present"),
        ([(1, 2, 3.0, 7, 7, DAY)], "is_within_ttl"),
        ([(1, 2, 3.0, 4, 4, DAY)], "is_within_ttl"),
        ([(1, 2, 3.0, 6, 8, DAY)], "was_known_at_event_time"),
    ],
)
def test_a_bad_window_is_told_by_the_right_check(rows: list[tuple], check: str):
    assert broken(*rows) == {check}


def test_a_column_of_another_type_than_declared_is_told():
    assert broken((1, 2, 3.0, 6, 6, DAY), features={"spend": Feature(type="bigint")}) == {"types_match"}
