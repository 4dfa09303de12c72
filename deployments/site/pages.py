"""Pages of the site that are no files of docs/: the README as its start, the changes, and Python's reference.

A link to a file outside of docs/ stands as the file's path: the site is read without a checkout.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
"""File of the repository → page of the site."""
PYTHON = (
    "asgard_assets.transforms.silver.silver",
    "asgard_assets.transforms.rows",
    "asgard_assets.components.python.table",
    "asgard_assets.quality.tables.Check",
    "asgard_assets.lake.Lake",
    "asgard_assets.ingest.api.pipeline.run_pipeline",
    "asgard_assets.spark.session.open_session",
    "asgard_assets.settings.Settings",
    "asgard_assets.errors.AsgardError",
)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_PICTURE = re.compile(r"(!\[[^\]]*\]\(|<img[^>]* src=\")docs/")


def on_files(files: Files, config: Any) -> Files:
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=rewritten(text, "", page)))
    reference = "\n\n".join(f"::: {name}" for name in PYTHON)
    about = "What a project's own Python imports. All else may change between releases."
    files.append(
        File.generated(config, "reference/python.md", content=f"# Python\n\n{about}\n\n{reference}\n")
    )
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    source = page.file.src_uri
    if source in PAGES.values():
        return markdown
    return rewritten(markdown, posixpath.join("docs", posixpath.dirname(source)), source)


def rewritten(markdown: str, folder: str, page: str) -> str:
    """The text of a file in `folder` of the repository, its links as the site has them, seen from `page`."""

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], posixpath.normpath(posixpath.join(folder, match[2])), match[3] or ""
        if target == "docs/decisions":
            target = min(path.relative_to(ROOT).as_posix() for path in (ROOT / target).glob("*.md"))
        inside = PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if inside is None:
            return text if target in text else f"{text} (`{target}`)"
        return f"[{text}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor})"

    return _LINK.sub(link, _PICTURE.sub(r"\1", markdown))
