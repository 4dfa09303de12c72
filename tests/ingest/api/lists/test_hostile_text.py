"""Text that an API or an author writes costs as much as its length."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgard_assets.documents import refuse_bombs
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.lists.pagination import link_relations, next_link
from asgard_assets.ingest.api.rate.quota import quota
from asgard_assets.ingest.api.source.config import load

SIZE = 200_000


@pytest.mark.parametrize(
    "text",
    [
        "<" * SIZE, "<>" * SIZE, '<a>;"' * SIZE, "<a>" + '"' * SIZE, "<a>" + '"\\' * SIZE, "<a>" + ";" * SIZE,
        "<a>" + "; rel " * SIZE, "rel=" * SIZE, '<a>;rel="' + "next" * SIZE, "<a>;" + " " * SIZE + "rel" + " " * SIZE,
        "<a>," * SIZE,
    ],
)  # fmt: skip
@pytest.mark.timeout(60)
def test_a_long_link_header_is_read_in_time(text: str) -> None:
    assert next_link(text) in (None, "a")


def test_links_are_read_with_their_relations() -> None:
    header = '</a?x=1,2>; rel="prev first"; title="a, \\"b\\"", <b>;rel=NEXT,<c>; rel=last'
    assert list(link_relations(header)) == [("/a?x=1,2", ["prev", "first"]), ("b", ["next"]), ("c", ["last"])]
    assert next_link(header) == "b"


def test_yaml_that_grows_or_goes_deep_is_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    for text, why in ((bomb, "is too long"), ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply")):
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(ConfigError, match=f"a.yaml:[0-9]+: .*{why}"):
            load(tmp_path / "a.yaml")
    refuse_bombs("base: &b {x: 1}\nmany: [*b, *b, *b]\n", "a.yaml")


@pytest.mark.parametrize(
    "headers",
    [
        {"ratelimit": f"limit={'9' * 400}, remaining={'9' * 400}, reset={'9' * 400}"},
        {"ratelimit-policy": f'"a";q={"9" * 400};w=1'},
        {"x-ratelimit-limit": "9" * 400, "x-ratelimit-remaining": "9" * 400, "x-ratelimit-reset": "1"},
    ],
)
def test_figures_of_hundreds_of_digits_are_finite(headers: dict[str, str]) -> None:
    found = quota(headers, lambda: 0.0)
    assert found is not None
    figures = (found.remaining, found.limit, found.window, found.reset)
    assert all(figure is None or figure < 1e13 for figure in figures)
