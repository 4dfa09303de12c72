"""`asgard new api`, as the documentation shows it."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from asgard_assets.cli.main import app
from asgard_assets.errors import ConfigError
from asgard_assets.settings import ROOT

DESCRIPTION = ROOT / "examples/api/shop.openapi.yaml"
PATH = "/users/{id}/orders"


def asgard(*arguments: str):
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return done.output, done.exit_code


def test_the_example_of_the_docs_is_what_the_command_writes(tmp_path):
    target = tmp_path / "orders.yaml"
    shown, code = asgard("new", "api", "--openapi", str(DESCRIPTION), "--path", PATH, "-o", str(target))
    assert code == 0
    assert "guessed form.key: {id: bigint} (`id` is required in each item)" in shown
    assert "to fill in: the variable SHOP_TOKEN" in shown
    page = (ROOT / "docs/api-sources.md").read_text()
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "name: shop_orders" in b)
    assert [line for line in target.read_text().splitlines() if not line.lstrip().startswith("#")] == [
        line for line in block.splitlines() if not line.lstrip().startswith("#")
    ]
    with pytest.raises(ConfigError, match="is there already"):
        asgard("new", "api", "--openapi", str(DESCRIPTION), "--path", PATH, "-o", str(target))


def test_without_a_path_the_lists_are_shown():
    shown, code = asgard("new", "api", "--openapi", str(DESCRIPTION))
    assert (shown.splitlines()[1:], code) == ([PATH], 1)
