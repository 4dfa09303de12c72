"""JSON numbers as they were sent, also those that neither 64 bits nor a double hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson

_MARKS = bytes(0x30 if chr(code) in "0123456789." else 0x20 for code in range(256))
_SUSPECT = b"0" * 16  # as many digits, or more, may be a number that a double rounds
_PADDED = re.compile(rb"\.\d+0[,\]}\s]")  # 1.10, but not a time in quotes
_ENDS = {ord(sign): ord(",") for sign in ",]} \t\r\n"}
_POWERS = bytes(
    ord("0") if chr(c) in "0123456789" else ord("e") if chr(c) in "eE" else _ENDS.get(c, 0x20)
    for c in range(256)
)
_POWER = (b"0e0,", b"0e00,", b"0e000,")
_ODD = (
    b"-0,",
    b"-0}",
    b"-0]",
    b"-0 ",
    b"-0\n",
    b"0.0000",
)  # a zero with a sign; small numbers get an exponent
_LONG = re.compile(rb"(?<![\d.])(?:\d{19,}|(?=[\d.]{17})\d+\.\d+)|\d[eE][+-]?\d{3}")


class Exact:
    """A number in the digits that it was sent with."""

    __slots__ = ("text",)

    def __init__(self, text: str):
        self.text = text

    @property
    def double(self) -> float | None:
        """The double with just this value; None where there is none."""
        number = float(self.text)
        return number if number - number == 0 and Decimal(repr(number)) == Decimal(self.text) else None

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exact) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def suspect(body: bytes) -> bool:
    """Whether the body may hold a number that orjson would round, or write in other digits than it was sent with.

    A few passes in C over nearly every body.
    """
    if _SUSPECT in body.translate(_MARKS) and _LONG.search(body) is not None:
        return True
    if _PADDED.search(body) is not None or any(odd in body for odd in _ODD):
        return True
    marked = body.translate(_POWERS, b"+-")
    return any(power in marked for power in _POWER)


def loads(body: bytes | str) -> Any:
    """Like json.loads; numbers that would be rounded are `Exact`."""
    return json.loads(body, parse_int=_whole, parse_float=_decimal, parse_constant=str)


def dumps(value: Any, sort_keys: bool = False) -> bytes:
    """The JSON text; numbers that are `Exact` in their own digits."""
    try:
        return orjson.dumps(value, default=_fragment, option=orjson.OPT_SORT_KEYS if sort_keys else None)
    except TypeError as error:
        # A name that is a text of another class (`decoding.Mended`) is none to orjson.
        if not str(error).startswith(("Recursion", "Dict key")):
            raise
        return b"".join(_deep(value, sort_keys))


def _deep(value: Any, sort_keys: bool) -> Iterator[bytes]:
    """The same for values nested deeper than orjson goes (254). What is left to write is kept on a stack."""
    left: list[Any] = [value]
    while left:
        part = left.pop()
        if isinstance(part, bytes):
            yield part
        elif isinstance(part, dict):
            names = sorted(part) if sort_keys else list(part)
            left.append(b"}")
            for number, name in reversed(list(enumerate(names))):
                left += [part[name], (b"," if number else b"") + orjson.dumps(name) + b":"]
            yield b"{"
        elif isinstance(part, list):
            left.append(b"]")
            for number, inner in reversed(list(enumerate(part))):
                left += [inner, b"," if number else b""]
            yield b"["
        else:
            yield orjson.dumps(part, default=_fragment)


def _fragment(value: Any) -> Any:
    if isinstance(value, Exact):
        return orjson.Fragment(value.text)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def plain(value: Any) -> Any:
    """The value, or the text of a number that only its text holds."""
    return value.text if isinstance(value, Exact) else value


def _whole(text: str) -> int | Exact:
    if text == "-0":
        return Exact(text)
    number = int(text) if len(text) < 21 else 1 << 64
    return number if -(2**63) <= number < 2**63 else Exact(text)


def _decimal(text: str) -> float | Exact:
    number = float(text)
    return number if repr(number) == text else Exact(text)
