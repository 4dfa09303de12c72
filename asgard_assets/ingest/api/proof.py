"""Guesses about an API, looked at by asking it: each is proven, corrected, or not seen. Writes nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgard_assets.ingest.api.http.decoding import Undecodable, decode
from asgard_assets.ingest.api.lists.detection import detect, find_items
from asgard_assets.ingest.api.lists.pagination import MalformedPage, first
from asgard_assets.ingest.api.openapi.guesses import key_of, small, told
from asgard_assets.ingest.api.openapi.logins import challenged
from asgard_assets.ingest.api.openapi.marks import Finding
from asgard_assets.ingest.api.preview import preview
from asgard_assets.ingest.api.source.forms import (
    AutoPagination,
    NoPagination,
    PagePagination,
    Pagination,
    PullForm,
    RowForm,
    Rows,
)
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.paths import at
from asgard_assets.lake import Lake
from asgard_assets.quality.tables import Model

_REFUSED = (401, 403)


@dataclass(frozen=True)
class _Answer:
    """What came back for the first page."""

    status: int | None
    url: str
    headers: Mapping[str, str]
    body: Any
    error: str

    @property
    def good(self) -> bool:
        return self.status is not None and self.status < 300 and self.body is not None


class Proof:
    """Asks the API that a source names. `rows`: a file of parent rows (Parquet), where the source names none."""

    def __init__(self, lake: Lake, source: ApiSource, day: str, rows: str | None = None):
        assert isinstance(source.form, PullForm)
        self._lake, self._day, self._rows = lake, day, rows
        few = source.retry.model_copy(update={"attempts": min(2, source.retry.attempts)})
        self._source, self._form = source.model_copy(update={"retry": few}), source.form

    def findings(self, fields: Sequence[str]) -> Iterator[Finding]:
        """One finding for each of these fields of the source, in the order in which they build on each other."""
        answer = self._ask()
        looks = {
            "auth": self._login, "form.items": self._items, "form.pagination": self._pages, "form.key": self._key,
        }  # fmt: skip
        for field, look in looks.items():
            if field not in fields and not (field == "auth" and answer.status in _REFUSED):
                continue
            if field != "auth" and not answer.good:
                finding = Finding(
                    field, "not seen", self._now(field), f"the API gave no list: {answer.error}"
                )
            else:
                finding = look(answer)
            self._take(finding)
            if finding.state == "corrected":
                answer = self._ask()
            if field in fields:
                yield finding
        for field in fields:
            if field not in looks:
                yield Finding(field, "not seen", None, "no answer can show it")

    # One guess each --------------------------------------------------------------------------------------

    def _login(self, answer: _Answer) -> Finding:
        now = self._now("auth")
        if answer.status in _REFUSED:
            other = challenged(answer.headers, self._source.name) if now == {"type": "none"} else None
            if other is not None:
                return Finding("auth", "corrected", other, f"without a login the API answers {answer.status}")
            return Finding(
                "auth", "not seen", now, f"the API refused it ({answer.status}); is the secret right?"
            )
        if now == {"type": "none"}:
            state = "proven" if answer.good else "not seen"
            return Finding("auth", state, now, answer.error or "the API answers without a login")
        if not answer.good:
            return Finding("auth", "not seen", now, f"the API gave no list: {answer.error}")
        bare = self._ask(auth={"type": "none"})
        if bare.status in _REFUSED:
            return Finding("auth", "proven", now, f"accepted; without it the API answers {bare.status}")
        return Finding("auth", "not seen", now, f"the API answers {bare.status} without it too")

    def _items(self, answer: _Answer) -> Finding:
        now = self._form.items
        found = at(answer.body, now)
        if isinstance(found, list) or (isinstance(found, Mapping) and self._form.map_key):
            return Finding("form.items", "proven", now, f"a list of {len(found)} in the answer")
        try:
            other = find_items(answer.body)
        except MalformedPage as error:
            return Finding("form.items", "not seen", now, error.message)
        return Finding("form.items", "corrected", other, f"the list is at `{other}`, not at `{now}`")

    def _key(self, answer: _Answer) -> Finding:
        now = dict(self._form.key)
        items = at(answer.body, self._form.items)
        items = [one for one in items if isinstance(one, Mapping)] if isinstance(items, list) else []
        if len(items) < 2:
            return Finding("form.key", "not seen", now, f"{len(items)} items show no key")
        found = key_of(items, now)
        if found == now:
            if not now:
                return Finding("form.key", "not seen", now, f"no field tells {len(items)} items apart")
            return Finding("form.key", "proven", now, f"tells {len(items)} items apart")
        return Finding(
            "form.key",
            "corrected",
            found,
            f"`{_names(now)}` does not tell {len(items)} items apart, or not by that type",
        )

    def _pages(self, answer: _Answer) -> Finding:
        now = self._form.pagination
        tried = [now] if not isinstance(now, AutoPagination) else []
        seen = self._detected(answer)
        tried += [one for one in seen if one != now]
        whys, whole = [], None
        for one in tried:
            walked, why = self._walk(one)
            if walked > 1:
                start = self._earlier(one)
                return self._paged(start or one, now, f"{walked} pages with other items each")
            if walked == 1:
                whole = whole or one
            whys.append(f"{one.type}: {why}")
        if whole is not None or not whys:
            return Finding("form.pagination", "not seen", told(now), "the list has one page")
        return Finding("form.pagination", "not seen", told(now), "; ".join(whys))

    def _paged(self, found: Pagination, now: Pagination, why: str) -> Finding:
        state = "proven" if found == now else "corrected"
        return Finding("form.pagination", state, told(found), why)

    # Asking ----------------------------------------------------------------------------------------------

    def _detected(self, answer: _Answer) -> list[Pagination]:
        """What the answers themselves say: the first one, and one with small pages."""
        found: list[Pagination] = []
        for one in (answer, self._ask(sized=2)):
            if not one.good:
                continue
            items = at(one.body, self._form.items)
            count = len(items) if isinstance(items, list) else 0
            try:
                told_ = detect(one.url, one.headers, one.body, count, self._form.items, one.status or 200)
            except MalformedPage:
                continue
            if not isinstance(told_, NoPagination) and told_ not in found:
                found.append(self._with_size(told_))
        return found

    def _with_size(self, found: Pagination) -> Pagination:
        """Page numbers that were told from an answer, with the size that the source already asks for."""
        now = self._form.pagination
        if isinstance(found, PagePagination) and isinstance(now, PagePagination):
            return found.model_copy(update={"size_param": now.size_param, "size": now.size})
        return found

    def _walk(self, pagination: Pagination) -> tuple[int, str]:
        """How many of three small pages came, each with items of its own; 0 where the walk failed, and why."""
        for size in (2, None):
            source = small(self._with(pagination=pagination, key={}), size)
            found = preview(self._lake, source, self._day, self._rows, 3)
            rows = [row for row in found.rows if row.get("item_index", -1) >= 0]
            failed = next((row["error_message"] for row in found.rows if not row["success"]), None)
            one_walk = {row["row_key"] for row in rows}
            pages = {row["url"] for row in rows if row["row_key"] == min(one_walk)} if one_walk else set()
            if failed is None and (len(pages) > 1 or size is None):
                return len(pages) or 1, ""
        return 0, failed or "no second page"

    def _earlier(self, pagination: Pagination) -> Pagination | None:
        """The pagination from the page before its first one, where that page is there and another one."""
        if not isinstance(pagination, PagePagination) or pagination.start < 1:
            return None
        before = pagination.model_copy(update={"start": pagination.start - 1})
        one, other = self._ask(pagination=before), self._ask(pagination=pagination)
        path = self._form.items
        if one.good and at(one.body, path) and at(one.body, path) != at(other.body, path):
            return before
        return None

    def _ask(self, sized: int | None = None, **changes: Any) -> _Answer:
        """The first page of the list (of the first parent), as it came."""
        source = small(self._with(**changes), sized)
        form = source.form
        assert isinstance(form, PullForm)
        page = first(form.pagination)
        endpoint = source.endpoint.model_copy(update={"query": {**source.endpoint.query, **page.query}})
        with _one_row(form.rows is None) as made:
            rows = form.rows or Rows(key={"n": "bigint"})
            asked = source.model_copy(update={"form": RowForm(type="row", rows=rows), "endpoint": endpoint})
            found = preview(self._lake, asked, self._day, made or self._rows, 1).rows
        if not found:
            return _Answer(None, "", {}, None, "there are no parent rows to ask for")
        row = found[0]
        headers = {name.lower(): value for name, value in json.loads(row["response_headers"] or "{}").items()}
        body, error = None, "" if row["success"] else row["error_message"] or ""
        if row["body"]:
            try:
                body = decode(headers, row["body"].encode(), form.decode)
            except Undecodable as broken:
                error = broken.message
        return _Answer(row["status_code"], row["url"] or "", headers, body, error or "the answer is empty")

    def _with(self, **changes: Any) -> ApiSource:
        """The source with another login or another part of its form."""
        whole = self._source.model_dump(mode="json")
        for name, value in changes.items():
            value = value.model_dump(mode="json") if isinstance(value, Model) else value
            if name == "auth":
                whole["auth"] = value
            else:
                whole["form"][name] = value
        return ApiSource.model_validate(whole)

    def _now(self, field: str) -> Any:
        """What the source says at the field."""
        if field == "auth":
            return self._source.auth.model_dump(mode="json", exclude_defaults=True) | {
                "type": self._source.auth.type
            }
        value = getattr(self._form, field.rpartition(".")[2])
        return told(value) if field == "form.pagination" else value

    def _take(self, finding: Finding) -> None:
        """What was corrected is asked by from now on."""
        if finding.state == "corrected":
            self._source = self._with(**{finding.field.rpartition(".")[2]: finding.value})
            form = self._source.form
            assert isinstance(form, PullForm)
            self._form = form


@contextmanager
def _one_row(needed: bool) -> Iterator[str | None]:
    """A frame of one row, for a request that needs none."""
    if not needed:
        yield None
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(prefix="asgard-proof-") as folder:
        target = str(Path(folder, "row.parquet"))
        pq.write_table(pa.table({"n": [1]}), target)
        yield target


def _names(key: Mapping[str, str]) -> str:
    return ", ".join(key) or "no key"
