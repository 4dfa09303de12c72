"""`asgard new api`, as the documentation shows it."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from asgard_assets.cli.main import app
from asgard_assets.errors import ConfigError
from tests.checkout import ROOT
from tests.fakes.described_api import SECRET, Api, bearer, numbered, served

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


def test_each_guess_is_proven_or_corrected_by_asking(tmp_path, monkeypatch):
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path))
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    parents, target = tmp_path / "users.csv", tmp_path / "orders.yaml"
    parents.write_text("user_id\n7\n")
    rows = [{"uid": f"u{n}", "id": n // 2, "total": n / 4} for n in range(9)]
    paging = numbered("page", "per_page", start=0, pages="meta.total_pages")
    with served(Api({"/users/7/orders": rows}, paging, "orders", {"meta": {}}, bearer())) as url:
        new = (
            "new",
            "api",
            "--openapi",
            str(DESCRIPTION),
            "--path",
            PATH,
            "--server",
            url,
            "-o",
            str(target),
        )
        shown, _ = asgard(*new, "--rows", str(parents), "--prove")
        assert "auth: proven (accepted; without it the API answers 401)" in shown
        assert "form.items: corrected to orders (the list is at `orders`, not at `data`)" in shown
        assert "form.key: corrected to {uid: string}" in shown
        assert "form.pagination: corrected to {type: page, param: page, start: 0," in shown
        text = target.read_text()
        assert "items: orders  # corrected: the list is at" in text
        assert "guessed" not in text.partition("name:")[2]
        shown, _ = asgard("preview", str(target), "--rows", str(parents))
        assert "9 items" in shown
        assert "asking the API" not in shown, "nothing is guessed any more"
