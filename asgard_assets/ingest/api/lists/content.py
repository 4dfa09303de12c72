"""What of an answer becomes columns: the body as text, a payload as text or typed, an item's key."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from asgard_assets.ingest.api.http.charsets import charset_of, decoded
from asgard_assets.ingest.api.http.decoding import Mended, Oversized, Undecodable, halves, read_json, unpacked
from asgard_assets.ingest.api.source.forms import PullForm, column_of
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.paths import at
from asgard_assets.ingest.api.source.payload import (
    Misfits,
    Schema,
    fit,
    merge,
    open_places,
    shape,
    told_of,
)
from asgard_assets.ingest.api.source.secrets import Redactor
from asgard_assets.ingest.api.values import exact
from asgard_assets.ingest.api.values.exact import Exact

_MOST_PATHS = 100


class Content:
    """Makes columns of bodies and items. `schema` is the typed payload's; None while it is being told.

    `shape` is what the payloads look like so far (of a known schema: where it has no types yet), `drift` counts what did not fit, by path and kind, `fields`
    are those of the schema that came.
    """

    def __init__(self, source: ApiSource, redactor: Redactor, schema: Schema | None):
        self._redactor, self._schema = redactor, schema
        self._payload = source.sink.payload
        self._places = open_places(schema) if schema is not None else ()
        self._most = source.sink.max_body_bytes
        self._keep_body = source.sink.body == "text"
        form = source.form
        self._key = (
            {path: (column_of(path), kind) for path, kind in form.key.items()}
            if isinstance(form, PullForm)
            else {}
        )
        self._hashed = source.sink.row_hash
        self._deleted = form.deleted if isinstance(form, PullForm) else None
        self.shape: Schema | None = None
        self.drift: Counter[str] = Counter()
        self.fields: set[str] = set()
        self.words = 0  # items with a secret's text that is a plain word, and stays
        self.mended = 0  # items that held half of a surrogate pair
        self.masked = 0  # items that held a secret's text

    @property
    def _typed(self) -> bool:
        return self._payload is not None and self._payload.type == "struct"

    def text_of(self, headers: Mapping[str, str], body: bytes) -> tuple[str, int]:
        """A body as text without secrets, and how many of its characters could not be read."""
        if body[:2] in (b"\x1f\x8b", b"PK"):
            # A packed list is kept only where it failed.
            with contextlib.suppress(Undecodable, Oversized):
                found = [content for _, content in unpacked(body, None, self._most)]
                body = found[0] if len(found) == 1 else body
        try:
            text, unread = body.decode(), 0
            if "charset" in headers.get("content-type", "").lower():
                text, unread = decoded(body, charset_of(headers, body))
        except UnicodeDecodeError:
            text, unread = decoded(body, charset_of(headers, body))
        return self._redactor.data(text), unread

    def of_body(self, text: str | None, success: bool) -> dict[str, Any]:
        """Columns of a row-driven answer, whose text has no secret in it any more."""
        kept: dict[str, Any] = {"body": text if self._keep_body else None}
        if self._hashed:
            kept["row_hash"] = _hash_of_text(text) if text is not None and success else None
        if self._payload is None:
            return kept
        if text is None or not success:
            return kept | self._columns(None)
        import orjson

        try:
            body = read_json(text)
        except Undecodable:
            self._count("", "type")
            rescued = {"payload_rescued": orjson.dumps({"": text}).decode()} if self._typed else {}
            return kept | {"payload": None} | rescued
        return kept | self._columns(at(body, self._payload.path))

    def of_item(self, item: Any) -> dict[str, Any]:
        """Columns of a list's item."""

        text = clean = exact.dumps(item).decode()
        if not self._redactor.empty:
            clean = self._redactor.data(text)
            self.words += self._redactor.has_word(text)
            if clean != text:
                item = read_json(clean)
                self.masked += 1
        odd = list(halves(item)) if "\ufffd" in clean else []
        keys: dict[str, Any] = {}
        for path, (column, kind) in self._key.items():
            found = at(item, path)
            # What was mended is not the text that was sent, and two keys must not become one.
            keys[column] = key_value(kind, found.sent.strip('"') if isinstance(found, Mended) else found)
        if odd:
            self.mended += 1
            keys |= {"error_class": "Surrogate", "error_message": self._redactor.text(_odd(odd))}
        if self._deleted is not None:
            told, gone = at(item, self._deleted.field), self._deleted.value
            keys["deleted"] = told not in (None, False, "") if gone is None else told == gone
        if self._hashed:
            keys["row_hash"] = hashlib.sha256(exact.dumps(item, sort_keys=True)).hexdigest()
        if self._payload is None:
            keys["payload"] = clean
            return keys
        return keys | self._columns(at(item, self._payload.path) if self._payload.path else item)

    def _columns(self, value: Any) -> dict[str, Any]:

        text = None if value is None else exact.dumps(value).decode()
        if not self._typed:
            return {"payload": text}
        try:
            return self._fitted(value, text)
        except RecursionError:
            self._count("", "depth")
            return {"payload": None, "payload_rescued": exact.dumps({"": text}).decode()}

    def _fitted(self, value: Any, text: str | None) -> dict[str, Any]:
        """Columns of a typed payload. Raises RecursionError where it is nested too deeply for any type."""
        if self._schema is None:
            self.shape = merge(self.shape, shape(value))
            return {"payload": text}
        if (
            isinstance(value, dict)
            and isinstance(self._schema, dict)
            and len(self.fields) < len(self._schema)
        ):
            self.fields |= self._schema.keys() & value.keys()
        if self._places != ():
            self.shape = merge(self.shape, told_of(value, self._places))
        misfits = Misfits()
        fitted = fit(value, self._schema, misfits)
        for path, kind in misfits.kinds.items():
            self._count(path, kind)
        rescued = exact.dumps(misfits.values).decode() if misfits.values else None
        return {"payload": fitted, "payload_rescued": rescued}

    def _count(self, path: str, kind: str) -> None:
        name = f"{kind} {path}".strip()
        if name in self.drift or len(self.drift) < _MOST_PATHS:
            self.drift[name] += 1


def _hash_of_text(text: str) -> str:
    """Of JSON whatever the order of its keys, of anything else as it is."""
    try:
        told = exact.dumps(read_json(text), sort_keys=True)
    except Undecodable:
        told = text.encode("utf-8", "surrogatepass")
    return hashlib.sha256(told).hexdigest()


def _odd(found: list[tuple[str, str]]) -> str:
    told = ", ".join(f"{path or 'the item'}: {sent}" for path, sent in found)
    return f"half of a surrogate pair is no letter, and U+FFFD in its place; it was sent as {told}"[:2000]


def key_value(kind: str, value: Any) -> Any:
    """A key's value as its column holds it; None where it does not fit: two keys must not become one."""
    if value is None or isinstance(value, dict | list):
        return None
    if kind == "string":
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return text if text.isascii() or text.encode("utf-8", "replace").decode() == text else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    try:
        if kind == "double":
            number = float(str(value))
            return number if _same(number, value) else None
        if isinstance(value, Exact):
            value = value.double
        whole = None if value is None else int(value)
    except (ValueError, OverflowError):
        return None
    # "0007", " 7" and 1.5 are not written as the number is, and other keys than 7 and 1.
    if whole is None or (str(whole) != value if isinstance(value, str) else whole != value):
        return None
    return (
        whole
        if -(1 << (31 if kind == "integer" else 63)) <= whole < 1 << (31 if kind == "integer" else 63)
        else None
    )


def _same(number: float, value: Any) -> bool:
    if isinstance(value, str):
        return repr(number) == value or (value.lstrip("-").isdigit() and str(int(number)) == value)
    return number == (value.double if isinstance(value, Exact) else value)
