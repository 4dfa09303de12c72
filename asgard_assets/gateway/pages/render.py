"""Templates to HTML. What is shown of data is text: no markup and no terminal codes of it reach a reader."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from asgard_assets.gateway.uis.paths import ui_of

ROOT = "/ui"
STYLE, LOGIN = f"{ROOT}/style.css", f"{ROOT}/login"
_FOLDER = Path(__file__).with_name("templates")
# Control characters, and those that turn the direction of text around.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "private, no-store",
    # Not `no-referrer`: browsers would send forms with `Origin: null`, which the door refuses.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def is_page(path: str) -> bool:
    """Whether a browser's page is asked for, and no JSON: one of ours, or of Dagster, MLflow and Feast."""
    return path == ROOT or path.startswith(f"{ROOT}/") or ui_of(path) is not None


def page(name: str, answer: int = 200, **told: Any) -> HTMLResponse:
    """A template as an answer that no browser keeps, frames or runs scripts of."""
    text = _templates().get_template(f"{name}.html").render(root=ROOT, **told)
    return HTMLResponse(text, answer, _HEADERS)


def problem_page(status: int, title: str, detail: str, request_id: str) -> HTMLResponse:
    """An error; of one who is not logged in, the form to log in."""
    name = "login" if status == 401 else "problem"
    return page(name, status, title=title, status=status, detail=detail, request_id=request_id, who=None)


def plain(value: Any) -> Any:
    """A value as it is shown: nothing where there is none, and no hidden characters."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else _HIDDEN.sub("\ufffd", value) if isinstance(value, str) else value


def size(count: float | None) -> str:
    """Bytes in words."""
    if count is None:
        return "not known"
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def money(amount: float | None) -> str:
    return "not known" if amount is None else f"{amount:.4f}" if amount < 1 else f"{amount:,.2f}"


@lru_cache(maxsize=1)
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, finalize=plain,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters.update(size=size, money=money)
    return found
