"""What an answer means: a source's own rules, those of its presets, then what statuses and bodies usually mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asgard_assets.ingest.api.http.charsets import charset_of, decoded
from asgard_assets.ingest.api.http.decoding import Oversized, Undecodable, read_json
from asgard_assets.ingest.api.http.messages import Response, Verdict
from asgard_assets.ingest.api.source.answers import USUAL, USUAL_OF_LISTS, Rule, Wanted
from asgard_assets.ingest.api.source.paths import at, has

Decoder = Callable[[Mapping[str, str], bytes], Any]

_NO_CONTENT = frozenset({204, 205})
_LEFT = ("x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining")
_PAIRS = {b"{": b"}", b"[": b"]"}
_LONGEST_MESSAGE = 500
_MARKUP = re.compile(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE)
_ERROR = re.compile(rb'"errors"\s*:|"(ok|success)"\s*:\s*false')


SUCCESS = Verdict("success")
EMPTY = Verdict("empty")
_ABSENT = object()


class Judge:
    """Judges answers; each is looked at once. `decode`: where a value is due, what reads it.

    A value that was read stays on the response as `parsed`. `due`: bodies are JSON, though nobody reads them
    here. `safe`: the method is GET or HEAD, where 202 is no answer.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        retry: frozenset[int] = frozenset(),
        throttle: frozenset[int] = frozenset(),
        decode: Decoder | None = None,
        safe: bool = True,
        due: bool = False,
    ):
        self._rules = tuple(_Compiled(rule) for rule in rules)
        self._usual = tuple(_Compiled(rule) for rule in (*USUAL, *(USUAL_OF_LISTS if decode else ())))
        self._retry, self._throttle, self._decode, self._safe = retry, throttle, decode, safe
        self._due = due
        # What no rule speaks of, and what means nothing but that its body is to be read.
        spoken_of = {*retry, *throttle, *_NO_CONTENT, 202}
        self._plain = frozenset() if self._rules else frozenset(range(200, 300)) - spoken_of

    def of(self, response: Response) -> Verdict:
        verdict = response.verdict
        if verdict is None:
            verdict = response.verdict = self._judge(response)
        return verdict

    def _judge(self, response: Response) -> Verdict:
        status = response.status
        if status in self._plain:
            return self._read(response)
        for rule in self._rules:
            if rule.fits(response, self._body):
                return self._ruled(rule.rule, response)
        if status in self._throttle:
            return Verdict("throttle", f"status {status}")
        if status in self._retry:
            return Verdict("retry", f"status {status}")
        if status in _NO_CONTENT:
            return EMPTY
        if status == 202 and (self._safe or "retry-after" in response.headers):
            return Verdict("not_yet", "status 202: the answer is not ready yet")
        if status == 403 and (
            "retry-after" in response.headers or any(response.headers.get(name) == "0" for name in _LEFT)
        ):
            return Verdict("throttle", "status 403, with a limit that is used up")
        if 200 <= status < 300:
            return self._read(response)
        if 300 <= status < 400:
            return Verdict(
                "fail",
                f"status {status}: it was not followed; set endpoint.redirects, or endpoint.base_url to the target",
            )
        return Verdict("fail", f"status {status}")

    def _ruled(self, rule: Rule, response: Response) -> Verdict:
        if rule.means == "success" and self._decode is not None:
            found = self._value(response)
            if found.means != "success":
                return found
        said = at(self._body(response), rule.message) if rule.message else None
        text = f"status {response.status}" if said is None else f"status {response.status}: {_text(said)}"
        return Verdict(rule.means, text[:_LONGEST_MESSAGE], rule.wait_seconds)

    def _read(self, response: Response) -> Verdict:
        """Of a 2xx: whether its value can be read, and does not itself say that it is an error."""
        if response.spooled:
            return SUCCESS  # it is read piece by piece, where its rows go
        if self._decode is not None:
            found = self._value(response)
            if found.means != "success":
                return found
        else:
            if _cut(response):
                return Verdict("retry", "the JSON of the body is cut short")
            if b'"errors"' not in response.body and b"false" not in response.body:
                return SUCCESS
        for rule in self._usual:
            if rule.fits(response, self._body):
                told = self._ruled(rule.rule, response)
                return Verdict(
                    told.means,
                    f"{told.message} (if this is no error, say so: answers.rules with means: success)",
                )
        return SUCCESS

    def _value(self, response: Response) -> Verdict:
        """Read the body; what cannot be read is worth another try, as a proxy's error page is."""
        assert self._decode is not None
        if response.parsed is None:
            try:
                response.parsed = self._decode(response.headers, response.body)
            except Oversized as error:
                return Verdict("fail", error.message)
            except Undecodable as error:
                return Verdict("retry", error.message)
        return SUCCESS

    def _body(self, response: Response) -> Any:
        """The JSON value of any answer; None where there is none."""
        if response.parsed is None and response.body[:1] not in (b"", b"<"):
            try:
                if self._decode is not None and 200 <= response.status < 300:
                    response.parsed = self._decode(response.headers, response.body)
                else:
                    response.parsed = read_json(decoded(response.body, charset_of(response.headers))[0])
            except (Undecodable, Oversized):
                return None
        return response.parsed


class _Compiled:
    """A rule with its regular expressions."""

    __slots__ = ("_body", "_headers", "_statuses", "_text", "rule")

    def __init__(self, rule: Rule):
        self.rule = rule
        self._statuses = None if rule.status is None else frozenset(rule.status)
        self._headers = [(name.lower(), re.compile(text)) for name, text in rule.header.items()]
        self._text = re.compile(rule.text) if rule.text else None
        self._body = [(path, _condition(wanted)) for path, wanted in rule.body.items()]

    def fits(self, response: Response, body: Callable[[Response], Any]) -> bool:
        status = str(response.status)
        if self._statuses is not None and not {status, f"{status[:1]}xx"} & self._statuses:
            return False
        for name, wanted in self._headers:
            if name not in response.headers or not wanted.fullmatch(response.headers[name].strip()):
                return False
        if self._body:
            value = body(response)
            for path, holds in self._body:
                if not holds(at(value, path) if has(value, path) else _ABSENT):
                    return False
        if self._text is None:
            return True
        return bool(self._text.search(decoded(response.body, charset_of(response.headers, response.body))[0]))


def _condition(wanted: Any) -> Callable[[Any], bool]:
    if not isinstance(wanted, Wanted):
        return lambda value: value is not _ABSENT and _same(value, wanted)
    pattern = re.compile(wanted.matches) if wanted.matches else None
    is_not = "is_not" in wanted.model_fields_set

    def holds(value: Any) -> bool:
        there = value is not _ABSENT and value is not None and value != [] and value != {} and value != ""
        if wanted.exists is not None and there != wanted.exists:
            return False
        if pattern is not None and not (there and pattern.search(_text(value))):
            return False
        if wanted.one_of is not None and not any(_same(value, one) for one in wanted.one_of):
            return False
        return not is_not or (value is not _ABSENT and not _same(value, wanted.is_not))

    return holds


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON is: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    import json

    return json.dumps(value, ensure_ascii=False, default=str)


def _cut(response: Response) -> bool:
    """Whether a body that calls itself JSON ends before it should. Looks at both ends only."""
    body = response.body
    closing = _PAIRS.get(body[:1])
    if closing is not None and body.endswith(closing):
        return False
    told = response.headers.get("content-type", "")
    if "json" not in told or "lines" in told:
        return False
    body = body.strip()
    closing = _PAIRS.get(body[:1])
    return closing is not None and body[-1:] != closing
