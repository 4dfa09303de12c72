import pytest
import yaml

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.config import load
from asgard_assets.settings import ROOT
from tests.ingest.api.sources import TICKETS, USAGE, source


def test_the_demo_sources_load_without_dagster():
    defs = ROOT / "asgard_assets/defs/bronze"
    assert load(defs / "usage/defs.yaml").form.type == "row"
    assert load(defs / "tickets/defs.yaml").form.type == "pull"


def test_a_typo_is_named_with_file_and_line(tmp_path):
    file = tmp_path / "usage.yaml"
    text = yaml.safe_dump(USAGE | {"limits": {"max_in_flght": 3}}, sort_keys=False)
    file.write_text(text)
    line = 1 + next(n for n, row in enumerate(text.splitlines()) if "max_in_flght" in row)
    with pytest.raises(ConfigError, match=rf"usage\.yaml:{line}: limits\.max_in_flght: Extra") as caught:
        load(file)
    assert caught.value.line == line


def test_broken_yaml_is_named_with_its_line(tmp_path):
    (tmp_path / "x.yaml").write_text("name: a\n  b: [")
    with pytest.raises(ConfigError, match=r"x\.yaml:2"):
        load(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"endpoint": {"base_url": "http://a", "path": "/{row.other}"}}, r"declare it in form\.rows\.key"),
        ({"endpoint": {"base_url": "http://a", "path": "/{rwo.x}"}}, "unknown placeholder"),
        ({"auth": {"type": "bearer", "token": "a-plain-secret"}}, "match pattern"),
        ({"form": TICKETS["form"]}, "a pull source has no rows"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(changes, message):
    with pytest.raises(ValueError, match=message):
        source(USAGE, **changes)


def test_a_key_column_cannot_carry_sql():
    rows = {"table": "bronze/users", "key": {"id', (select 1)": "bigint"}}
    with pytest.raises(ValueError, match="letters, digits"):
        source(USAGE | {"form": {"type": "row", "rows": rows}})
