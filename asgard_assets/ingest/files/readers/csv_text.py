"""Delimited text on its way to the parser: lines that are no records go, and a record that a strict reader refuses is
put aside, for pyarrow takes text behind a closing quote as part of the field and with it any lines between."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from asgard_assets.ingest.files.readers.records import MAX_RECORD
from asgard_assets.ingest.files.source.formats import Csv

if TYPE_CHECKING:
    import numpy as np

_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20
_MARK = "\x00put aside:"
_SEPARATOR = re.compile(rb'"?sep=(.)"?\r?\n?', re.IGNORECASE | re.DOTALL)
BEHIND = "has text behind a closing quote"


class CsvText(io.RawIOBase):
    """The text in UTF-8 without byte order mark, preamble, comments and footer. A record with text behind a closing
    quote becomes one with too many fields, and `put_aside` gives back what it was."""

    def __init__(self, stream: IO[bytes], delimiter: str, options: Csv) -> None:
        self._stream, self._options = stream, options
        self._decoder = (
            None if options.utf8 else codecs.getincrementaldecoder(options.encoding)("surrogateescape")
        )
        self._carry = self._out = b""
        self._ended, self._first, self._fields = False, True, 0
        self._aside: list[str] = []
        self.delimiter, self.says_separator = delimiter, False
        self._begin()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._out and not (self._ended and not self._carry):
            self._fill(size)
        found = self._out if size < 0 else self._out[:size]
        self._out = self._out[len(found) :]
        return found

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def put_aside(self, text: str) -> str | None:
        """The record that the parser was given `text` for; None where it was given the record itself."""
        _, mark, number = text.rpartition(_MARK)
        return self._aside[int(number)] if mark else None

    def _begin(self) -> None:
        """Pass over the byte order mark, `sep=;` and the preamble."""
        self._more(_CHUNK)
        self._carry = self._carry.removeprefix(_BOM)
        if told := _SEPARATOR.match(self._carry):
            if told.end() == len(self._carry) or told[0].endswith(b"\n"):
                self.says_separator = True
                self.delimiter = self._options.delimiter or told[1].decode("latin-1")
                self._carry = self._carry[told.end() :]
        for _ in range(self._options.skip_lines):
            while (end := self._carry.find(b"\n") + 1) == 0 and not self._ended:
                self._more(_CHUNK)
            self._carry = self._carry[end or len(self._carry) :]

    def _more(self, size: int) -> None:
        # As much again as is held, so that a long record is not looked at again and again.
        chunk = self._stream.read(max(size, len(self._carry), _CHUNK))
        if self._decoder is not None:
            chunk = self._decoder.decode(chunk, not chunk).encode("utf-8", "surrogateescape")
            self._ended = not chunk and self._decoder.getstate()[0] == b""
        else:
            self._ended = not chunk
        self._carry += chunk

    def _fill(self, size: int) -> None:
        """Whole records of what is held and read, into `_out`."""
        if not self._ended:
            self._more(size)
        lines = _Lines(self._carry, self.delimiter, self._options)
        end = len(self._carry) if self._ended else lines.end
        if end < 0:
            if len(self._carry) > MAX_RECORD:
                raise ValueError("a record is longer than 128 MiB")
            return
        if self._options.skip_footer:
            end = self._without_footer(end)
        found, refused = self._carry[:end], lines.refused(end)
        comments = lines.comments(end) if self._options.comment else []
        self._carry = self._carry[end:] if not self._ended else b""
        if self._first:
            self._fields = max(lines.fields, len(self._options.names))
        self._out = self._put(found, refused, comments)
        self._first = self._first and not self._out.strip()

    def _without_footer(self, end: int) -> int:
        """Where the last lines begin: those that are the footer, or may be."""
        for _ in range(self._options.skip_footer):
            line_end = len(self._carry[:end].rstrip(b"\r\n"))
            end = self._carry.rfind(b"\n", 0, line_end) + 1
        return end

    def _put(
        self, found: bytes, refused: Sequence[tuple[int, int]], comments: Sequence[tuple[int, int]]
    ) -> bytes:
        if not refused and not comments:
            return found
        parts, at = list[bytes](), 0
        for start, end in sorted([*refused, *comments]):
            if start < at:
                continue  # within one that is out already
            parts.append(found[at:start])
            if (start, end) in comments:
                at = end
                continue
            if self._first and self._options.header and not b"".join(parts).strip():
                raise ValueError(f"its header {BEHIND}")
            parts.append(f"{self.delimiter * (self._fields + 1)}{_MARK}{len(self._aside)}".encode())
            self._aside.append(found[start:end].decode("utf-8", "backslashreplace"))
            at = end
        return b"".join([*parts, found[at:]])


class _Lines:
    """Where records and quotes are in some text that begins with a record."""

    def __init__(self, text: bytes, delimiter: str, options: Csv) -> None:
        import numpy as np

        self._text, self._options = text, options
        self._delimiter = delimiter.encode()
        self._quote = (options.quote or "").encode()
        self._data = np.frombuffer(text, np.uint8)
        self._quotes = (
            np.flatnonzero(self._data == self._quote[0])
            if self._quote and self._quote in text
            else np.array([], "int64")
        )
        self._spans = None if self._is_strict() else self._quoted()

    @property
    def fields(self) -> int:
        """As many fields as the first record can have."""
        found = re.compile(rb"[^\r\n]+").search(self._text)
        return found[0].count(self._delimiter) + 1 if found else 1

    @property
    def end(self) -> int:
        """Where the last record that is whole ends; -1 where none is."""
        at = len(self._text)
        while at > 0:
            at = max(self._text.rfind(b"\n", 0, at), self._text.rfind(b"\r", 0, at))
            if at >= 0 and not self._is_inside(at):
                return at + 1
        return -1

    def _is_inside(self, at: int) -> bool:
        """Whether the line end there is within quotes."""
        import numpy as np

        if self._spans is None:
            return bool(np.searchsorted(self._quotes, at) & 1)
        starts, ends, _ = self._spans
        last = int(np.searchsorted(starts, at)) - 1
        return last >= 0 and at < ends[last]

    def _is_strict(self) -> bool:
        """Whether each quote opens a field, closes one, or is one of a doubled pair."""
        import numpy as np

        if not len(self._quotes):
            return True
        if self._options.escape and self._options.escape.encode() in self._text:
            return False
        around = np.zeros(256, bool)
        around[[10, 13, self._delimiter[0], self._quote[0]]] = True
        opening, closing = self._quotes[::2], self._quotes[1::2]
        before = around[self._data[opening - 1]]
        before[0] |= opening[0] == 0
        if not before.all():
            return False
        closing = closing[:-1] if len(closing) and closing[-1] == len(self._data) - 1 else closing
        return bool(around[self._data[closing + 1]].all())

    def _quoted(self) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
        """Where fields in quotes begin and end, and those with text behind the closing quote."""
        import numpy as np

        quote, delimiter = re.escape(self._quote), re.escape(self._delimiter)
        escape = re.escape((self._options.escape or "").encode())
        inside = rb"[^%s]++|%s%s" % (quote + escape, quote, quote)
        if escape:
            inside += rb"|%s." % escape
        pattern = rb"(?<![^%s\r\n])%s(?:%s)*+(?:%s([^%s\r\n]*)|\Z)" % (
            delimiter,
            quote,
            inside,
            quote,
            delimiter,
        )
        spans, odd = list[tuple[int, int]](), list[tuple[int, int]]()
        for match in re.compile(pattern, re.DOTALL).finditer(self._text):
            spans.append(match.span())
            if match[1]:
                odd.append(match.span())
        bounds = np.array(spans, "int64").reshape(-1, 2)
        return bounds[:, 0], bounds[:, 1], odd

    def _line_ends(self, end: int) -> np.ndarray:
        """Line ends before `end` that are not within quotes."""
        import numpy as np

        data = self._data[:end]
        found = np.flatnonzero((data == 10) | (data == 13))
        if self._spans is None:
            return found[np.searchsorted(self._quotes, found) & 1 == 0]
        starts, ends, _ = self._spans
        if not len(starts):
            return found
        last = np.searchsorted(starts, found) - 1
        return found[(last < 0) | (found >= ends[last])]

    def refused(self, end: int) -> list[tuple[int, int]]:
        """Records before `end` with text behind a closing quote, without their line ends."""
        if self._spans is None or not self._spans[2]:
            return []
        import numpy as np

        line_ends = self._line_ends(end)
        found: dict[int, int] = {}
        for start, stop in self._spans[2]:
            if start >= end:
                break
            first, last = int(np.searchsorted(line_ends, start)), int(np.searchsorted(line_ends, stop))
            begin = int(line_ends[first - 1]) + 1 if first else 0
            found[begin] = int(line_ends[last]) if last < len(line_ends) else end
        return sorted(found.items())

    def comments(self, end: int) -> list[tuple[int, int]]:
        """Lines before `end` that begin with the comment's character, with their line ends."""
        import numpy as np

        sign = (self._options.comment or "").encode()
        if sign not in self._text:
            return []
        line_ends = self._line_ends(end)
        starts = np.concatenate([[0], line_ends + 1])
        stops = np.concatenate([line_ends + 1, [end]])
        inside = starts < end
        starts, stops = starts[inside], stops[inside]
        chosen = self._data[starts] == sign[0]
        return [(int(a), int(b)) for a, b in zip(starts[chosen], stops[chosen], strict=True)]
