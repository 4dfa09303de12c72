"""Each promise of docs/security.md has a test: of the matrix by its name, of the threat model by its file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.fuzz.targets import TARGETS

PAGE = (ROOT / "docs" / "security.md").read_text()
ASSETS = {"rows of the lake", "secrets", "code that runs", "runs", "files of the machine", "other hosts"}
ANSWERS = ("no", "yes", "refused", "masked", "bounded", "ended", "quarantined", "shown as text", "the file fails", "the row fails", "only")  # fmt: skip


def cells(section: str) -> Iterator[list[str]]:
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    yield from ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)


@pytest.fixture(scope="module")
def asserting() -> set[str]:
    """Tests that are there, and can fail: they assert, expect an error, or hand over to a function of the tests."""
    found = set[str]()
    for file in Path(ROOT, "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                marks = " ".join(map(ast.unparse, node.decorator_list))
                body = [inner for inner in ast.walk(node) if isinstance(inner, ast.Assert | ast.Call)]
                if body and not re.search(r"mark\.(skip|soak|xfail)\b", marks):
                    found.add(node.name)
    return found


def test_each_line_of_the_matrix_has_its_test(asserting: set[str]) -> None:
    lines = list(cells("Actors, assets, actions"))
    assert len(lines) > 50 and {line[1] for line in lines} == ASSETS
    for actor, asset, action, answer, test in lines:
        name = test.strip("`")
        assert name in asserting or name in TARGETS, f"{actor}, {asset}, {action}: there is no {name}"
        assert answer.startswith(ANSWERS), f"{actor}, {asset}, {action}: {answer}"


def test_each_actor_of_the_threat_model_has_tests_that_are_there() -> None:
    files = {str(file.relative_to(ROOT / "tests")) for file in (ROOT / "tests").rglob("test_*.py")}
    lines = list(cells("Threat model"))
    assert len(lines) >= 13
    for actor, *_, told in lines:
        for name in re.findall(r"`(?:tests/)?([\w/]+\.py)`", told):
            assert any(file == name or file.endswith(f"/{name}") for file in files), (
                f"{actor}: there is no {name}"
            )
