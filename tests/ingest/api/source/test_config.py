import json
import re

import pytest
import yaml

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.access.auth import credentials
from asgard_assets.ingest.api.source.config import load, located
from tests.checkout import ROOT
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
    assert caught.value.field == "limits.max_in_flght"


def written(tmp_path, config, name="usage.yaml"):
    file = tmp_path / name
    dump = (
        json.dumps(config, indent="\t") if name.endswith("json") else yaml.safe_dump(config, sort_keys=False)
    )
    file.write_text(dump)
    return file


def line_of(file, text):
    return 1 + next(n for n, row in enumerate(file.read_text().splitlines()) if text in row)


@pytest.mark.parametrize("name", ["usage.yaml", "usage.json"])
@pytest.mark.parametrize(
    ("changes", "field", "marker"),
    [
        ({"auth": {"type": "bearer", "tokn": "env:X"}}, "auth.token", "auth"),
        ({"auth": {"type": "bearer", "token": "env:X", "tokn": "x"}}, "auth.tokn", "tokn"),
        (
            {"form": TICKETS["form"] | {"pagination": {"type": "page", "size": 0}}},
            "form.pagination.size",
            "size",
        ),
        ({"endpoint": USAGE["endpoint"] | {"path": "/{row.other}"}}, "endpoint.path", "path"),
        (
            {"endpoint": USAGE["endpoint"] | {"query": {"a": "x", "b": {"colum": "user_id"}}}},
            "endpoint.query.b.column",
            "b",
        ),
        ({"endpoint": USAGE["endpoint"] | {"headers": {"X-Page": 7}}}, "endpoint.headers.X-Page", "X-Page"),
        ({"lookback_days": 2, "kind": "snapshot"}, "lookback_days", "lookback_days"),
        ({"quality": {}}, "quality.description", "quality"),
    ],
)
def test_every_error_names_file_line_and_field(tmp_path, name, changes, field, marker):
    file = written(tmp_path, USAGE | changes, name)
    with pytest.raises(ConfigError) as caught:
        load(file)
    found = re.findall(rf"{re.escape(str(file))}:(\d+): ([\w.-]+):", str(caught.value))
    told = {at: int(line) for line, at in found}
    key = f'"{marker}"' if name.endswith("json") else f"{marker}:"
    assert told[field] in {n for n, row in enumerate(file.read_text().splitlines(), 1) if key in row}


def test_json_and_yaml_make_the_same_source(tmp_path):
    assert load(written(tmp_path, USAGE)) == load(written(tmp_path, USAGE, "usage.json"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"x\.yaml:1: the file is empty"),
        (b"- 1\n", r"x\.yaml:1: the source: Input should be a valid dictionary"),
        (b"name: a\nname: b\n", r"x\.yaml:2: name is given twice; first in line 1"),
        (b"name: a\n\xff\n", r"x\.yaml:2: is no UTF-8 text"),
        (b"name: a\nkind: \x07\n", r"x\.yaml:2: the character '\\x07' cannot stand in YAML"),
        (b"name: a\nform: &a {items: [*a]}\n", r"x\.yaml:2: an alias stands inside its own anchor"),
    ],
)
def test_a_file_that_is_no_source_says_where(tmp_path, content, said):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load(tmp_path / "x.yaml")


def test_one_of_several_sources_in_a_file_is_read_by_its_name(tmp_path):
    file = tmp_path / "defs.yaml"
    both = [{"attributes": {"source": USAGE | {"name": name, "kind": "events"}}} for name in ("a", "b")]
    file.write_text(yaml.safe_dump_all(both))
    assert [load(file, name).name for name in ("a", "b")] == ["a", "b"]
    with pytest.raises(ConfigError, match="holds 2 documents"):
        load(file)
    del both[1]["attributes"]["source"]["sink"]
    file.write_text(text := yaml.safe_dump_all(both))
    second = text[: text.rindex("source:")].count("\n") + 1
    with pytest.raises(ConfigError, match=rf"defs\.yaml:{second}: sink"):
        load(file, "b")


def test_broken_json_is_named_with_its_line(tmp_path):
    (tmp_path / "x.json").write_text('{\n"name": "a",\n}')
    with pytest.raises(ConfigError, match=r"x\.json:3: "):
        load(tmp_path / "x.json")


def test_what_only_shows_when_it_runs_says_file_and_line_too(tmp_path, monkeypatch):
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    file = written(tmp_path, USAGE)
    with pytest.raises(ConfigError) as caught, located(file):
        credentials(load(file))
    line = line_of(file, "token: env:TEST_TOKEN")
    assert str(caught.value).startswith(
        f"{file}:{line}: auth.token: usage: the environment variable TEST_TOKEN"
    )
    with pytest.raises(ConfigError) as caught, located(file):
        raise ConfigError("usage: no SQL", field="form.rows.query")
    assert str(caught.value) == f"{file}:{line_of(file, 'query: select')}: form.rows.query: usage: no SQL"


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
