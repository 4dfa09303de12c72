"""One value as one scalar type takes it, without losing any of it; or not at all."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.shape.iso_time import day_of_text, moment_of_text

if TYPE_CHECKING:
    import pyarrow as pa


class Misfit(Exception):
    pass


def scalar(v: Any, target: pa.DataType) -> Any:
    """The value as the type takes it. Raises Misfit."""
    import pyarrow as pa

    t = pa.types
    try:
        if t.is_boolean(target):
            return _boolean(v)
        if isinstance(v, bool):
            raise Misfit
        if t.is_integer(target):
            return _integer(v, target.bit_width)
        if t.is_floating(target):
            return _float(v, target)
        if t.is_decimal(target):
            return _decimal(v, target)
        if t.is_date(target):
            return _date(v)
        if t.is_timestamp(target):
            return _timestamp(v)
    except (ValueError, OverflowError, InvalidOperation) as error:
        raise Misfit from error
    if t.is_binary(target) and isinstance(v, (bytes, str)):
        return v.encode() if isinstance(v, str) else v
    raise Misfit


def _boolean(v: Any) -> bool:
    if isinstance(v, bool):
        return v
    if isinstance(v, str) and (word := v.strip().lower()) in ("true", "false", "1", "0"):
        return word in ("true", "1")
    raise Misfit


def _integer(v: Any, bits: int) -> int:
    if isinstance(v, str):
        if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", v):
            raise Misfit
        v = int(v)
    if isinstance(v, (float, Decimal)):
        if v != int(v) or (isinstance(v, float) and abs(v) > 2**53):
            raise Misfit
        v = int(v)
    if not isinstance(v, int) or not -(2 ** (bits - 1)) <= v < 2 ** (bits - 1):
        raise Misfit
    return v


def _float(v: Any, target: pa.DataType) -> float:
    if isinstance(v, (str, int, float, Decimal)):
        found = float(v)
        if isinstance(v, str) and (overflows(v, found) or not _plain(v)):
            raise Misfit
        if isinstance(v, int) and int(found) != v:
            raise Misfit
        if isinstance(v, Decimal) and Decimal(repr(found)) != v:
            raise Misfit
        if target.bit_width == 32 and found == found:
            import struct

            # A decimal fraction is never quite a binary one; a number that is one must be kept as it is.
            short = struct.unpack("f", struct.pack("f", found))[0]
            if short != found and (not isinstance(v, str) or overflows(v, short)):
                raise Misfit
            found = short
        if isinstance(v, str) and re.fullmatch(r"\s*[+-]?[0-9]+\s*", v) and int(found) != int(v):
            raise Misfit
        return found
    raise Misfit


def _plain(text: str) -> bool:
    """Whether a number is written as everyone does: Python alone takes `1_0` for ten."""
    return text.isascii() and "_" not in text


def overflows(text: str, found: float) -> bool:
    """Whether a number was written that a double can only take for infinite, or for 0."""
    mantissa = text.lower().partition("e")[0]
    digits = any(char in "123456789" for char in mantissa)
    return digits and (found == 0 or found in (float("inf"), float("-inf")))


def _decimal(v: Any, target: pa.DataType) -> Decimal:
    if not isinstance(v, (str, int, float, Decimal)):
        raise Misfit
    if isinstance(v, str) and not _plain(v):
        raise Misfit
    found = Decimal(repr(v)) if isinstance(v, float) else Decimal(v.strip() if isinstance(v, str) else v)
    sign, digits, exponent = found.as_tuple()
    if not isinstance(exponent, int):
        raise Misfit  # NaN and infinity
    while digits and digits[-1] == 0 and exponent < 0:
        digits, exponent = digits[:-1], exponent + 1
    if -exponent > target.scale or len(digits) + exponent > target.precision - target.scale:
        raise Misfit
    return Decimal((sign, digits or (0,), exponent))


def _date(v: Any) -> date:
    if isinstance(v, datetime):
        if v.time() != v.time().min:
            raise Misfit
        return v.date()
    if isinstance(v, date):
        return v
    if isinstance(v, str):
        return day_of_text(v)
    raise Misfit


def _timestamp(v: Any) -> datetime:
    if isinstance(v, str):
        if re.search(r"[.,][0-9]{6}[0-9]*[1-9]", v):
            raise Misfit  # a table keeps microseconds
        v = moment_of_text(v)
    if isinstance(v, date) and not isinstance(v, datetime):
        v = datetime(v.year, v.month, v.day)  # noqa: DTZ001
    if not isinstance(v, datetime) or getattr(v, "nanosecond", 0):
        raise Misfit  # a table keeps microseconds
    return v.replace(tzinfo=UTC) if v.tzinfo is None else v.astimezone(UTC)
