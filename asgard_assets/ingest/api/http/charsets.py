"""Bytes to text, as the answer says that they are to be read."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

_NAMED = re.compile(r"charset\s*=\s*[\"']?([\w.:+-]+)", re.IGNORECASE)
_DECLARED = re.compile(rb"^\s*<\?xml[^>]*encoding\s*=\s*[\"']([\w.-]+)[\"']")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WEB = {
    "iso-8859-1": "cp1252",
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "cp1252",
    "ascii": "cp1252",
}


def charset_of(headers: Mapping[str, str], body: bytes = b"") -> str:
    """The charset of a body: its byte order mark, the Content-Type, an XML declaration; else UTF-8."""
    if body[:1] in (b"\xef", b"\xff", b"\xfe", b"\x00"):
        for mark, name in _MARKS:
            if body.startswith(mark):
                return name
    told = headers.get("content-type", "")
    if "charset" in told.lower() and (named := _NAMED.search(told)):
        name = named.group(1)
    elif declared := _DECLARED.match(body[:200]):
        name = declared.group(1).decode()
    else:
        return "utf-8"
    try:
        b"".decode(name)
        return codecs.lookup(name).name
    except (LookupError, UnicodeError):  # Python also knows rot13 and others that are no charsets
        return "utf-8"


def decoded(body: bytes, charset: str) -> tuple[str, int]:
    """The text, and how many characters could not be read (they are U+FFFD).

    What is not in `charset` is tried as UTF-8 and the other way round: servers say one and send the other.
    """
    try:
        return body.decode(charset), 0
    except (UnicodeError, LookupError):
        pass
    for other in ("utf-8", _WEB.get(charset, "")):
        if other and other != charset:
            try:
                return body.decode(other), 0
            except UnicodeDecodeError:
                continue
    try:
        text = body.decode(charset, "replace")
    except (UnicodeError, LookupError):
        text = body.decode("utf-8", "replace")
    return text, text.count("\ufffd")
