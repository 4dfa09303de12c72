"""The documentation site is built, with every link checked, and needs nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.checkout import ROOT


def test_the_site_is_built_and_its_pages_load_nothing_from_elsewhere(tmp_path: Path):
    site = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-q",
        "-f",
        "deployments/site/mkdocs.yml",
        "-d",
        str(site),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(site).as_posix(): path.read_text() for path in site.rglob("*.html")}
    sources = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
    }
    assert {*sources, "index.html", "changelog.html", "reference/python.html"} - {"package.html"} <= set(
        pages
    )
    foreign = {
        (name, address)
        for name, text in pages.items()
        for address in re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(https?:[^\"]+)", text)
    }
    assert foreign == set()
    assert "asgard_assets.transforms.rows.split" in pages["reference/python.html"]
