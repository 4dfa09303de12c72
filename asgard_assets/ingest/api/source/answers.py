"""What an answer means, where its status alone does not say so: the `answers` section of a source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from asgard_assets.quality.tables import Model

Means = Literal["success", "empty", "not_yet", "retry", "throttle", "fail"]
Preset = Literal["github", "slack", "graphql", "salesforce", "amplitude"]


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
    return text


def _status(value: Any) -> Any:
    values = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    for one in values:
        if not re.fullmatch(r"[1-5](\d\d|xx)", str(one)):
            raise ValueError(f"{one!r} is not a status; write 404, or 5xx for all of them")
    return tuple(str(one) for one in values)


Expression = Annotated[str, AfterValidator(_expression)]
Statuses = Annotated[tuple[str, ...], BeforeValidator(_status)]


class Wanted(Model):
    """What must be true of a value; all that is given must hold."""

    exists: bool | None = Field(
        default=None,
        description="true: there is a value, and it is not null, not an empty list, object or text.",
    )
    matches: Expression | None = Field(
        default=None, description="Regular expression that is found in the value as text (objects: as JSON)."
    )
    one_of: tuple[JsonValue, ...] | None = Field(default=None, description="The value is one of these.")
    is_not: JsonValue = Field(default=None, description="There is a value, and it is another one than this.")


class Rule(Model):
    """One rule: if all its conditions hold, the answer means `means`."""

    means: Means = Field(
        description="success. empty: a success with nothing in it; a list ends. not_yet: ask again later, "
        "which uses up no attempt. retry: try again. throttle: slow down. fail: give up."
    )
    status: Statuses | None = Field(
        default=None, description="Status code that the rule is for: 404, a list of codes, or `5xx`."
    )
    header: dict[str, Expression] = Field(
        default_factory=dict,
        description="Headers that must be there, with a regular expression for the whole value.",
    )
    body: dict[str, Wanted | JsonValue] = Field(
        default_factory=dict,
        description="Paths in the JSON body with the value that must stand there, such as `{ok: false}`, or "
        "with one of `{exists: true}`, `{matches: …}`, `{one_of: […]}`, `{is_not: …}`.",
    )
    text: Expression | None = Field(
        default=None, description="A regular expression that is found in the body as text."
    )
    message: str | None = Field(
        default=None, description="Path in the body of what the API says; it becomes `error_message`."
    )
    wait_seconds: float | None = Field(
        default=None, ge=0, description="How long to wait before the next try, unless the API says it."
    )

    @model_validator(mode="before")
    @classmethod
    def _conditions(cls, data: Any) -> Any:
        """`{exists: true}` is a condition; any other mapping is a value."""
        if not isinstance(data, Mapping) or not isinstance(data.get("body"), Mapping):
            return data
        known = set(Wanted.model_fields)
        body = {
            path: Wanted.model_validate(value)
            if isinstance(value, Mapping) and value and value.keys() <= known
            else value
            for path, value in data["body"].items()
        }
        return {**data, "body": body}

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.status or self.header or self.body or self.text):
            raise ValueError("a rule needs a condition: status, header, body or text")
        return self


class Answers(Model):
    """Rules are tried in order, then those of the presets, then what statuses usually mean; the first that fits counts."""

    rules: tuple[Rule, ...] = Field(
        default=(), description="Own rules for what an answer means. They are tried before the presets."
    )
    presets: tuple[Preset, ...] = Field(
        default=(), description="Rules for well-known APIs: github, slack, graphql, salesforce, amplitude."
    )

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        return (*self.rules, *(rule for name in self.presets for rule in PRESETS[name]))


def _rules(*rules: dict[str, Any]) -> tuple[Rule, ...]:
    return tuple(Rule.model_validate(rule) for rule in rules)


PRESETS: Mapping[str, tuple[Rule, ...]] = {
    "github": _rules(
        {"status": [403, 429], "header": {"retry-after": ".+"}, "means": "throttle", "message": "message"},
        {"status": [403, 429], "header": {"x-ratelimit-remaining": "0"}, "means": "throttle", "message": "message"},
        {"status": [403, 429], "body": {"message": {"matches": "(?i)rate limit|abuse detection"}}, "means": "throttle",
         "message": "message", "wait_seconds": 60},
        {"status": 202, "means": "not_yet"},
        {"status": 409, "body": {"message": {"matches": "(?i)repository is empty"}}, "means": "empty"},
        {"body": {"errors": {"matches": "RATE_LIMITED"}}, "means": "throttle", "message": "errors.0.message"},
        {"status": [400, 401, 403, 404, 410, 422, 451], "body": {"message": {"exists": True}}, "means": "fail", "message": "message"},
    ),
    "slack": _rules(
        {"body": {"ok": False, "error": {"one_of": ["ratelimited", "rate_limited"]}}, "means": "throttle", "message": "error"},
        {"body": {"ok": False, "error": {"one_of": ["internal_error", "request_timeout", "service_unavailable"]}},
         "means": "retry", "message": "error"},
        {"body": {"ok": False}, "means": "fail", "message": "error"},
    ),
    "graphql": _rules(
        {"body": {"errors": {"matches": "(?i)THROTTLED|RATE_?LIMIT|TOO_MANY_REQUESTS"}}, "means": "throttle",
         "message": "errors.0.message"},
        {"body": {"errors": {"matches": "(?i)\"code\": ?\"(TIMEOUT|INTERNAL_SERVER_ERROR|SERVICE_UNAVAILABLE|INTERNAL)\""}},
         "means": "retry", "message": "errors.0.message"},
        {"body": {"errors": {"exists": True}}, "means": "fail", "message": "errors.0.message"},
    ),
    "salesforce": _rules(
        {"body": {"0.errorCode": {"one_of": ["REQUEST_LIMIT_EXCEEDED", "SERVER_UNAVAILABLE"]}}, "means": "throttle",
         "message": "0.message"},
        {"body": {"0.errorCode": {"one_of": ["UNABLE_TO_LOCK_ROW", "QUERY_TIMEOUT"]}}, "means": "retry", "message": "0.message"},
        {"status": [400, 401, 403, 404, 405, 415], "body": {"0.errorCode": {"exists": True}}, "means": "fail", "message": "0.message"},
    ),
    "amplitude": _rules(
        {"status": 404, "means": "empty"},
        {"status": 429, "means": "throttle", "wait_seconds": 15},
        {"status": 504, "means": "fail"},
    ),
}  # fmt: skip
"""Rules by preset. Salesforce answers an expired session with 401, which the login renews by itself."""

USUAL: tuple[Rule, ...] = _rules(
    {"body": {"errors.0.message": {"exists": True}, "errors": {"matches": "(?i)THROTTLED|RATE_?LIMIT"}},
     "means": "throttle", "message": "errors.0.message"},
    {"body": {"errors.0.message": {"exists": True}}, "means": "fail", "message": "errors.0.message"},
    {"body": {"ok": False, "error": {"exists": True}}, "means": "fail", "message": "error"},
    {"body": {"success": False, "error": {"exists": True}}, "means": "fail", "message": "error"},
)  # fmt: skip
"""A 2xx that says in so many words that it is an error. A source's own rule can say otherwise."""

_NO_ERROR = r'(?is)^(?!(?:false|0|none|null|no|ok|success|n/?a)$)(?!.*"(?:code|errorcode|status)":\s*"?0\b).+'
_NO = [False, "false", "False"]

USUAL_OF_LISTS: tuple[Rule, ...] = _rules(
    {"body": {"error.message": {"exists": True}, "error": {"matches": _NO_ERROR}}, "means": "fail", "message": "error.message"},
    {"body": {"error": {"matches": _NO_ERROR}}, "means": "fail", "message": "error"},
    {"body": {"errors": {"matches": r"^[\[{]"}}, "means": "fail", "message": "errors"},
    {"body": {"Errors": {"matches": r"^[\[{]"}}, "means": "fail", "message": "Errors"},
    *({"body": {flag: {"one_of": _NO}}, "means": "fail", "message": "message"} for flag in ("ok", "success", "succeeded")),
    *({"body": {name: {"matches": "(?i)^(error|fail|failure)$"}}, "means": "fail", "message": "message"}
      for name in ("status", "stat")),
)  # fmt: skip
"""The same where a list is due: beside one, these words mean nothing else. A row's answer may be a record that has them."""
