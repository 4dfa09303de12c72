"""What the development server accepts from a connector, without any connector."""

from __future__ import annotations

import json

import pytest

from deployments.local.airbyte import protocol
from deployments.local.airbyte.protocol import ConnectorError, States

RECORD = {"type": "RECORD", "record": {"stream": "users", "data": {"id": 1}, "emitted_at": 1}}


def lines(*values: object) -> list[bytes]:
    return [json.dumps(value).encode() + b"\n" for value in values]


def stream_state(name: str, cursor: int) -> dict[str, object]:
    stream = {"stream_descriptor": {"name": name}, "stream_state": {"cursor": cursor}}
    return {"type": "STREAM", "stream": stream, "sourceStats": {"recordCount": 1.0}}


def test_messages_come_in_order_and_blank_lines_are_passed_over():
    log = {"type": "LOG", "log": {"level": "INFO", "message": "hello"}}
    assert list(protocol.messages([b"\n", *lines(log, RECORD)])) == [log, RECORD]


@pytest.mark.parametrize(
    "line", [b"Downloading model ...\n", b'{"type": "RECORD"', b"[1, 2]\n", b'{"type": "NOVEL", "novel": {}}\n',
             b'{"type": "RECORD", "record": 1}\n', b"\xff\xfe\n"]
)  # fmt: skip
def test_a_line_that_is_no_message_is_refused_with_its_number_and_text(line):
    found = protocol.messages([*lines(RECORD), line])
    assert next(found) == RECORD
    with pytest.raises(ConnectorError, match="line 2 of its output is no") as error:
        next(found)
    assert line[:10].decode("utf-8", "replace").strip() in str(error.value)


def test_a_long_bad_line_is_quoted_in_part():
    with pytest.raises(ConnectorError) as error:
        list(protocol.messages([b"x" * 10_000]))
    assert len(str(error.value)) < 300


def test_an_error_is_told_from_other_traces():
    error = {
        "type": "TRACE",
        "trace": {"type": "ERROR", "error": {"message": "m", "failure_type": "config_error"}},
    }
    estimate = {"type": "TRACE", "trace": {"type": "ESTIMATE", "estimate": {"name": "users"}}}
    assert protocol.trace_error(error) == "m (config_error)"
    assert protocol.trace_error(estimate) is None
    assert protocol.trace_error(RECORD) is None


def test_the_latest_state_of_a_stream_wins_and_only_wanted_streams_get_theirs():
    states = States([stream_state("a", 1), stream_state("b", 1)])
    states.add(stream_state("a", 2))
    assert [s["stream"]["stream_state"]["cursor"] for s in states.of(["a"])] == [2]
    states.forget("a")
    assert [s["stream"]["stream_descriptor"]["name"] for s in states.all()] == ["b"]


def test_a_global_state_is_for_every_stream():
    states = States([{"type": "GLOBAL", "global": {"shared_state": {"lsn": 7}}}])
    assert states.of(["a"]) == [{"type": "GLOBAL", "global": {"shared_state": {"lsn": 7}}}]


def test_a_state_of_the_old_kind_is_given_back_without_its_wrapping():
    states = States([{"data": {"users": 1}}, {"type": "LEGACY", "data": {"users": 2}}])
    assert states.given(["a"]) == {"users": 2} and states.latest == ""
    assert States(states.all()).given(["a"]) == {"users": 2}
