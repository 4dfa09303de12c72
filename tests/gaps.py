"""Gaps of a shared suite, said where they are: a test that cannot pass in one place of several.

    @pytest.mark.parametrize("store", ["folder", "s3", "gs"])
    @pytest.mark.notimpl("gs", reason="comes with …")
    def test_a_lake_lies_in(store): ...

Each mark names the parameters (parts of the test's id) that it is about; without any it is about all of them. The test
runs all the same, and must fail: one that begins to pass fails, so that the mark is taken away.
"""

from __future__ import annotations

import pytest

GAPS = {
    "notimpl": "nobody has built it here yet",
    "notyet": "what lies beneath cannot do it yet",
    "never": "it is not wanted there, or has no meaning",
}


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in GAPS.items():
        config.addinivalue_line(
            "markers",
            f"{name}(*parameters, reason, raises): a gap of a shared suite: {meaning}; the test must fail",
        )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Make the item's gap an expected failure. A mark without a reason, or about no parameter, is an error."""
    for mark in item.iter_markers():
        if mark.name not in GAPS:
            continue
        reason = mark.kwargs.get("reason")
        if not reason or mark.kwargs.keys() - {"reason", "raises"}:
            raise pytest.UsageError(f"{item.nodeid}: say why: @pytest.mark.{mark.name}(…, reason=…)")
        parameters = (
            item.callspec.id.split("-")
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
            else []
        )
        if not mark.args or set(mark.args) & set(parameters):
            raises = mark.kwargs.get("raises")
            item.add_marker(pytest.mark.xfail(strict=True, reason=f"{mark.name}: {reason}", raises=raises))
