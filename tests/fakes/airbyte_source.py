"""A fake at the edge: an Airbyte source, as small as the protocol allows, that misbehaves on request.

Real connectors do not fail when a test wants them to. This one speaks the same protocol as a subprocess;
its configuration says how many rows to read and what goes wrong: {"rows": 3, "mode": "garbage"}. With
{"table": "users.json"} it reads a file of changes instead, one JSON list of records: the source that a test edits.
"""

import json
import os
import signal
import subprocess
import sys
import time

STREAMS = ("users", "orders")


def say(kind, body):
    names = {"CONNECTION_STATUS": "connectionStatus"}
    print(json.dumps({"type": kind, names.get(kind, kind.lower()): body}), flush=True)


def record(stream, number):
    data = {"id": number, "name": f"{stream} {number}"}
    say("RECORD", {"stream": stream, "data": data, "emitted_at": 1_795_000_000_000 + number})


def status(stream, word):
    descriptor = {"stream_descriptor": {"name": stream}, "status": word}
    say("TRACE", {"type": "STREAM_STATUS", "emitted_at": 1.5, "stream_status": descriptor})


def discover(config):
    properties = {
        "id": {"type": "integer"},
        "name": {"type": ["null", "string"]},
        "at": {"type": "string", "format": "date-time"},
    }
    for name in config.get("columns", []):
        properties[name] = {"type": ["null", "string"]}
    streams = [
        {
            "name": name,
            "json_schema": {"properties": properties},
            "supported_sync_modes": ["full_refresh", "incremental"],
            "source_defined_cursor": True,
            "default_cursor_field": [config.get("cursor", "id")],
            "source_defined_primary_key": config.get("key", [["id"]]),
        }
        for name in STREAMS
    ]
    say("CATALOG", {"streams": streams})


def misbehave(mode):
    if mode == "garbage":
        print("Traceback? No: just a stray print", flush=True)
    elif mode == "not a message":
        print('{"hello": "world"}', flush=True)
    elif mode == "exit":
        sys.exit(3)
    elif mode == "error":
        say(
            "TRACE",
            {
                "type": "ERROR",
                "emitted_at": 1,
                "error": {"message": "no such table", "failure_type": "config_error"},
            },
        )
        sys.exit(1)
    elif mode == "error but exit 0":
        say(
            "TRACE",
            {
                "type": "ERROR",
                "emitted_at": 1,
                "error": {"message": "gave up", "failure_type": "system_error"},
            },
        )
        sys.exit(0)
    elif mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif mode == "unknown stream":
        record("nobody", 1)
    elif mode == "malformed record":
        say("RECORD", {"stream": "users", "data": "text", "emitted_at": 1})
    elif mode == "endless records":
        while True:
            record("users", 1)
    elif mode == "endless line":
        while True:
            sys.stdout.write("x" * 65536)
    elif mode == "endless log":
        for _ in range(2000):
            print("log " * 1000, file=sys.stderr, flush=True)
    elif mode == "hang":
        # With a child that outlives a kill of its parent, as connectors with worker processes have.
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        say("LOG", {"level": "INFO", "message": f"worker {child.pid}"})
        time.sleep(600)


def check(config):
    if config.get("mode") == "refused":
        say("CONNECTION_STATUS", {"status": "FAILED", "message": "the password is wrong"})
    else:
        say("CONNECTION_STATUS", {"status": "SUCCEEDED"})


def spec():
    schema = {
        "type": "object",
        "properties": {"rows": {"type": "integer"}, "password": {"type": "string", "airbyte_secret": True}},
    }
    say("SPEC", {"connectionSpecification": schema, "documentationUrl": "https://docs.airbyte.com"})


def state(stream, last):
    descriptor = {"stream_descriptor": {"name": stream}, "stream_state": {"last": last}}
    say("STATE", {"type": "STREAM", "stream": descriptor})


def changes(config, name, first):
    """(number, record) of everything after `first`: made up, or from the file that a test edits."""
    if "table" not in config:
        return [(n, {"id": n, "name": f"{name} {n}"}) for n in range(first, config.get("rows", 3) + 1)]
    with open(config["table"]) as file:
        return [pair for pair in enumerate(json.load(file), 1) if pair[0] >= first]


def read(config, catalog, states):
    known = {s["stream"]["stream_descriptor"]["name"]: s["stream"]["stream_state"] for s in states}
    every = config.get("state_every", 0)
    for stream in catalog["streams"]:
        name = stream["stream"]["name"]
        status(name, "STARTED")
        last = known.get(name, {}).get("last", 0)
        for number, data in changes(config, name, last + 1):
            say("RECORD", {"stream": name, "data": data, "emitted_at": 1_795_000_000_000 + number})
            last = number
            if every and number % every == 0:
                state(name, number)
            if config.get("mode") == "break" and number == config["at"]:
                misbehave(config["how"])
            time.sleep(config.get("pause", 0))
        if not (config.get("mode") == "break"):
            state(name, last)
        misbehave(config.get("mode"))
        status(name, "INCOMPLETE" if config.get("mode") == "incomplete" else "COMPLETE")


def main():
    options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    opened = {}
    for option, path in options.items():
        with open(path) as file:
            opened[option] = json.load(file)
    if sys.argv[1] == "spec":
        spec()
    elif sys.argv[1] == "check":
        check(opened["--config"])
    elif sys.argv[1] == "discover":
        discover(opened["--config"])
    elif sys.argv[1] == "read":
        say("LOG", {"level": "INFO", "message": "reading"})
        read(opened["--config"], opened["--catalog"], opened.get("--state", []))


if __name__ == "__main__":
    main()
