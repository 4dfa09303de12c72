"""What an API says about its limits in the headers of an answer. Pure functions; garbage says nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

Headers = Mapping[str, str]

_PREFIXES = ("x-ratelimit-", "ratelimit-", "x-rate-limit-")
_NAMES = frozenset(
    {"ratelimit", "ratelimit-policy", "x-ratelimit-reset-after"}
    | {f"{prefix}{name}" for prefix in _PREFIXES for name in ("limit", "remaining", "reset")}
)
_PARAMETER = re.compile(r"(?:^|[;,\s])(q|w|r|t|limit|remaining|reset)\s*=\s*\"?(\d+(?:\.\d+)?)")
_LEADING = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(?:$|[;,])")
_EPOCH, _EPOCH_MILLISECONDS = 1e8, 1e11  # a reset above these is no duration
_LONGEST = 366 * 86400.0


@dataclass(frozen=True)
class Quota:
    """`remaining` requests until `reset` seconds from the answer; `limit` requests every `window` seconds.
    `said` is the header that tells the reset, as it was sent.
    """

    remaining: float | None = None
    reset: float | None = None
    limit: float | None = None
    window: float | None = None
    said: str = ""


def retry_after(headers: Headers, now: Callable[[], float]) -> float | None:
    """Seconds that the server asks to wait (RFC 9110, 10.2.3: a number or a date); None where it says nothing.

    `now` is the wall clock. What cannot be read counts as nothing said.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    seconds = _number(text)
    if seconds is None:
        when = _date(text)
        seconds = None if when is None else when - now()
    return None if seconds is None else max(0.0, seconds)


def quota(headers: Headers, now: Callable[[], float]) -> Quota | None:
    """From the RateLimit and RateLimit-Policy fields (IETF, old drafts and new), or from the X- forms.

    Where several limits are told, the one with the least left counts. None where nothing is said.
    """
    if _NAMES.isdisjoint(headers):
        return None
    found = _structured(headers) or _separate(headers, now)
    if found is None or (found.remaining is None and found.window is None):
        return None
    return found


def _structured(headers: Headers) -> Quota | None:
    """`RateLimit: "a";r=5;t=10` with `RateLimit-Policy: "a";q=100;w=60`; or `limit=100, remaining=5, reset=10`."""
    policies = [_parameters(part) for part in headers.get("ratelimit-policy", "").split(",")]
    rates = [(p["q"] / p["w"], p) for p in policies if p.get("q") and p.get("w")]
    policy = min(rates, key=lambda rate: rate[0])[1] if rates else {}
    text = headers.get("ratelimit", "")
    if "remaining" in text:
        told = _parameters(text)
        states = [{"r": told.get("remaining"), "t": told.get("reset"), "q": told.get("limit")}]
    else:
        states = [p for p in map(_parameters, text.split(",")) if "r" in p]
    state = min(states, key=lambda p: p["r"] if p["r"] is not None else _LONGEST, default={})
    if not policy and not state:
        return None
    limit = policy.get("q", state.get("q"))
    said = f"ratelimit: {text}" if text else ""
    return Quota(state.get("r"), _bounded(state.get("t")), limit, policy.get("w"), said)


def _separate(headers: Headers, now: Callable[[], float]) -> Quota | None:
    """X-RateLimit-Limit, -Remaining, -Reset (seconds, an instant or a date), and the other spellings."""
    for prefix in _PREFIXES:
        remaining = _leading(headers.get(f"{prefix}remaining"))
        limit = _leading(headers.get(f"{prefix}limit"))
        if remaining is None and limit is None:
            continue
        name = f"{prefix}reset-after"
        reset = _leading(headers.get(name))
        if reset is None:
            name = f"{prefix}reset"
            reset = _until(headers.get(name, ""), headers, now)
        window = _parameters(headers.get(f"{prefix}limit", "")).get("w")
        return Quota(remaining, _bounded(reset), limit, window, f"{name}: {headers.get(name, '')}")
    return None


def _until(text: str, headers: Headers, now: Callable[[], float]) -> float | None:
    told = _number(text.strip())
    if told is None:
        told = _date(text) if text.strip() else None
        if told is None:
            return None
    elif told < _EPOCH:
        return told
    elif told >= _EPOCH_MILLISECONDS:
        told /= 1000
    # The server's own clock is what its instant was made with.
    served = _date(headers.get("date", ""))
    return max(0.0, told - (now() if served is None else served))


_MANY = 1e12


def _parameters(text: str) -> dict[str, float]:
    return {name: _figure(value) for name, value in _PARAMETER.findall(text)}


def _leading(text: str | None) -> float | None:
    found = _LEADING.match(text or "")
    return _figure(found.group(1)) if found else None


def _figure(text: str) -> float:
    """A number that an API says; hundreds of digits are many."""
    return min(float(text), _MANY)


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(0.0, seconds), _LONGEST)


def _number(text: str) -> float | None:
    # float() also reads "nan", "inf", "1_0" and "1e9": no server means that.
    if not re.fullmatch(r"[+-]?\d{1,15}(\.\d{0,9})?", text, re.ASCII):
        return None
    return float(text)


def _date(text: str) -> float | None:
    if not text:
        return None
    try:
        when = parsedate_to_datetime(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError):
        return None
