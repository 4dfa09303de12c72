"""What an answer means: rules, presets, and what statuses and bodies usually say."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from asgard_assets.ingest.api.http.decoding import decode
from asgard_assets.ingest.api.http.messages import Request, Response
from asgard_assets.ingest.api.http.verdict import Judge
from asgard_assets.ingest.api.rate.pacing import Pause
from asgard_assets.ingest.api.rate.retry import Retrying
from asgard_assets.ingest.api.source.answers import Answers
from asgard_assets.ingest.api.source.models import Retry
from tests.ingest.api.clock import Clock, virtually

JSON = {"content-type": "application/json"}


def verdict(status, body=b"", headers=None, *, rules=(), presets=(), listed=True, safe=True):
    answers = Answers.model_validate({"rules": list(rules), "presets": list(presets)})
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    usual = Retry()
    judge = Judge(
        answers.all_rules, usual.statuses, usual.throttle_statuses, decode if listed else None, safe
    )
    found = judge.of(Response(status, JSON | (headers or {}), body))
    return found.means, found.message


@pytest.mark.parametrize(
    ("status", "body", "headers", "means"),
    [
        (200, {"data": []}, {}, "success"),
        (204, b"", {}, "empty"),
        (202, {"state": "pending"}, {}, "not_yet"),
        (202, {"state": "pending"}, {"retry-after": "3"}, "not_yet"),
        (403, {}, {}, "fail"),
        (403, {}, {"retry-after": "60"}, "throttle"),
        (403, {}, {"x-ratelimit-remaining": "0"}, "throttle"),
        (403, {}, {"x-ratelimit-remaining": "10"}, "fail"),
        (429, {}, {}, "throttle"),
        (503, {}, {}, "retry"),
        (404, {}, {}, "fail"),
        (302, {}, {}, "fail"),
        (200, b'{"data": [1, 2', {}, "retry"),
        (200, b"", {}, "retry"),
        (200, b"<html>down for maintenance</html>", {"content-type": "text/html"}, "retry"),
        (200, b"<html>down for maintenance</html>", {}, "retry"),
        (200, {"data": {}, "errors": [{"message": "no"}]}, {}, "fail"),
        (200, {"data": {}, "errors": []}, {}, "success"),
        (200, {"data": [], "errors": None}, {}, "success"),
        (200, {"ok": False, "error": "no_such_channel"}, {}, "fail"),
        (200, {"success": False, "error": {"code": 4}}, {}, "fail"),
        (200, {"ok": True, "error": None}, {}, "success"),
        (200, {"data": [], "error": {"code": 4, "message": "boom"}}, {}, "fail"),
        (200, {"data": [], "error": "boom"}, {}, "fail"),
        (200, {"data": [], "errors": ["boom"]}, {}, "fail"),
        (200, {"data": [], "errors": {"day": ["is wrong"]}}, {}, "fail"),
        (200, {"data": [], "Errors": [{"Message": "boom"}]}, {}, "fail"),
        (200, {"data": [], "success": False, "message": "boom"}, {}, "fail"),
        (200, {"data": [], "ok": False}, {}, "fail"),
        (200, {"data": [], "success": "false"}, {}, "fail"),
        (200, {"data": [], "status": "error", "message": "boom"}, {}, "fail"),
        (200, {"data": [], "stat": "fail"}, {}, "fail"),
        (200, {"data": [], "error": False}, {}, "success"),
        (200, {"data": [], "error": "", "errors": 0}, {}, "success"),
        (200, {"data": [], "error": {"code": 0, "message": "OK"}}, {}, "success"),
        (200, {"data": [], "errors": {}, "status": "ok", "success": True}, {}, "success"),
        (200, [{"status": "failed", "error": "a record's own"}], {}, "success"),
    ],
)  # fmt: skip
def test_what_answers_usually_mean(status, body, headers, means):
    assert verdict(status, body, headers)[0] == means


def test_a_post_that_was_accepted_is_a_success_unless_it_says_when_to_come_back():
    assert verdict(202, {"job": 1}, safe=False)[0] == "success"
    assert verdict(202, {"job": 1}, {"retry-after": "1"}, safe=False)[0] == "not_yet"


@pytest.mark.parametrize(
    ("rule", "status", "body", "headers", "means"),
    [
        ({"status": 404, "means": "empty"}, 404, {}, {}, "empty"),
        ({"status": [404, 410], "means": "empty"}, 410, {}, {}, "empty"),
        ({"status": "5xx", "means": "fail"}, 503, {}, {}, "fail"),
        ({"header": {"X-State": "(pending|queued)"}, "means": "not_yet"}, 200, {}, {"x-state": "queued"}, "not_yet"),
        ({"header": {"X-State": "pending"}, "means": "not_yet"}, 200, {}, {"x-state": "pending2"}, "success"),
        ({"body": {"status": "error"}, "means": "fail"}, 200, {"status": "error"}, {}, "fail"),
        ({"body": {"status": "error"}, "means": "fail"}, 200, {}, {}, "success"),
        ({"body": {"code": 0}, "means": "fail"}, 200, {"code": False}, {}, "success"),
        ({"body": {"ok": {"is_not": True}}, "means": "fail"}, 200, {"ok": False}, {}, "fail"),
        ({"body": {"ok": {"is_not": True}}, "means": "fail"}, 200, {}, {}, "success"),
        ({"body": {"meta.error": None}, "means": "fail"}, 200, {"meta": {"error": None}}, {}, "fail"),
        ({"body": {"data": {"exists": False}}, "means": "retry"}, 200, {"data": []}, {}, "retry"),
        ({"body": {"code": {"one_of": [17, 18]}}, "means": "throttle"}, 400, {"code": 17}, {}, "throttle"),
        ({"body": {"errors": {"matches": "TIMEOUT"}}, "means": "retry"}, 200, {"errors": [{"code": "TIMEOUT"}]}, {}, "retry"),
        ({"text": "(?i)maintenance", "means": "retry"}, 200, b"<h1>Maintenance</h1>", {"content-type": "text/html"}, "retry"),
        ({"body": {"errors": {"exists": True}}, "means": "success"}, 200, {"errors": [{"message": "deleted"}]}, {}, "success"),
        ({"status": 202, "means": "success"}, 202, {"data": []}, {}, "success"),
    ],
)  # fmt: skip
def test_rules_by_status_header_body_and_text(rule, status, body, headers, means):
    assert verdict(status, body, headers, rules=[rule])[0] == means


def test_the_first_rule_that_fits_counts_and_says_the_apis_own_words():
    rules = [
        {"body": {"error.code": "slow_down"}, "means": "throttle"},
        {"status": 400, "means": "fail", "message": "error.text"},
    ]
    assert verdict(400, {"error": {"code": "slow_down"}}, rules=rules)[0] == "throttle"
    assert verdict(400, {"error": {"text": "no such day"}}, rules=rules) == (
        "fail",
        "status 400: no such day",
    )


@pytest.mark.parametrize(
    ("preset", "status", "body", "headers", "means"),
    [
        ("github", 403, {"message": "You have exceeded a secondary rate limit"}, {}, "throttle"),
        ("github", 403, {"message": "Resource not accessible"}, {}, "fail"),
        ("github", 404, {"message": "Not Found"}, {}, "fail"),
        ("github", 409, {"message": "Git Repository is empty."}, {}, "empty"),
        ("github", 202, {}, {}, "not_yet"),
        ("slack", 200, {"ok": False, "error": "ratelimited"}, {}, "throttle"),
        ("slack", 200, {"ok": False, "error": "invalid_auth"}, {}, "fail"),
        ("slack", 200, {"ok": True, "members": []}, {}, "success"),
        ("graphql", 200, {"errors": [{"message": "slow", "extensions": {"code": "THROTTLED"}}]}, {}, "throttle"),
        ("graphql", 200, {"errors": [{"message": "x", "extensions": {"code": "TIMEOUT"}}]}, {}, "retry"),
        ("graphql", 200, {"data": {}, "errors": [{"message": "no field"}]}, {}, "fail"),
        ("salesforce", 403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests"}], {}, "throttle"),
        ("salesforce", 400, [{"errorCode": "MALFORMED_QUERY", "message": "unexpected token"}], {}, "fail"),
        ("amplitude", 404, b"", {}, "empty"),
        ("amplitude", 429, b"", {}, "throttle"),
    ],
)  # fmt: skip
def test_presets(preset, status, body, headers, means):
    assert verdict(status, body, headers, presets=[preset])[0] == means


def test_rows_are_judged_without_being_read():
    assert verdict(200, b'{"a": [1, 2', listed=False)[0] == "retry"
    assert verdict(200, b"<html>", {"content-type": "text/html"}, listed=False)[0] == "success"
    assert verdict(200, {"ok": False, "error": "x"}, listed=False)[0] == "fail"
    assert verdict(200, b"", listed=False)[0] == "success"


@pytest.mark.parametrize(
    "rule",
    [
        {"means": "fail"},
        {"means": "gone", "status": 404},
        {"means": "fail", "status": 4040},
        {"means": "fail", "text": "("},
        {"means": "fail", "status": 404, "bodi": {}},
    ],
)
def test_rules_that_say_nothing_are_refused(rule):
    with pytest.raises(ValidationError):
        Answers.model_validate({"rules": [rule]})


def sent(answers, rules=(), **policy):
    """What retrying makes of these answers in turn; with the request's trace and the seconds waited."""
    clock, left = Clock(), list(answers)
    usual = Retry.model_validate({"attempts": 3, "backoff_seconds": 0.1} | policy)
    judge = Judge(
        Answers.model_validate({"rules": list(rules)}).all_rules,
        usual.statuses,
        usual.throttle_statuses,
        decode,
    )
    retrying = Retrying(usual, Pause(), clock, clock.sleep, lambda: 1.0, lambda: 0.0, judge)

    async def send(_):
        status, body, headers = left.pop(0) if len(left) > 1 else left[0]
        return Response(
            status, JSON | headers, json.dumps(body).encode() if not isinstance(body, bytes) else body
        )

    request = Request("1", "GET", "http://api")
    response = virtually(retrying(request, send))
    return judge.of(response).means, request.trace, clock.slept


def test_what_is_not_ready_is_waited_for_without_using_up_attempts():
    waiting = [(202, {}, {"retry-after": "2"})] * 6
    means, trace, slept = sent([*waiting, (200, [], {})])
    assert (means, trace.attempts, trace.throttles, sum(slept)) == ("success", 7, 0, 12)


def test_what_is_never_ready_ends_at_the_deadline():
    means, _, slept = sent([(202, {}, {})], deadline_seconds=20)
    assert means == "not_yet"
    assert sum(slept) <= 20


def test_a_page_that_is_no_json_is_asked_for_again():
    means, trace, _ = sent(
        [(200, b"<html>one moment</html>", {}), (200, b'{"data": [', {}), (200, {"data": []}, {})]
    )
    assert (means, trace.attempts) == ("success", 3)
    means, trace, _ = sent([(200, b"<html>one moment</html>", {})])
    assert (means, trace.attempts) == ("retry", 3)


def test_a_rule_says_how_long_to_wait():
    rule = {"body": {"state": "running"}, "means": "not_yet", "wait_seconds": 7}
    means, _, slept = sent([(200, {"state": "running"}, {}), (200, {"state": "done"}, {})], [rule])
    assert (means, slept) == ("success", [7])
