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
    for name in [*config.get("columns", []), *filter(None, [os.environ.get("COLUMN")])]:
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
    if mode == "not utf-8":
        sys.stdout.buffer.write(
            b'{"type": "RECORD", "record": {"stream": "users", "data": {"id": "\xff\xfe"}}}\n'
        )
    elif mode == "half a line":
        print('{"type": "RECORD", "record": {"stream": "users", "da', flush=True)
        record("users", 99)
    elif mode == "no time":
        say("RECORD", {"stream": "users", "data": {"id": 1}})
    elif mode == "goes on in silence":
        os.close(1)
        time.sleep(600)
    elif mode == "unknown state":
        say("STATE", {"type": "PARTIAL", "data": {}})
    elif mode == "chatter":
        say("TRACE", {"type": "ESTIMATE", "emitted_at": 1, "estimate": {"name": "users", "type": "STREAM"}})
        say("TRACE", {"type": "ANALYTICS", "emitted_at": 1, "analytics": {"type": "x", "value": "1"}})
        say("TRACE", {"type": "NEW KIND", "emitted_at": 1})
        say("CONTROL", {"type": "NEW KIND", "emitted_at": 1})
        say("LOG", {"message": "without a level, \ud800 and with half a character"})
        print("\n\n", flush=True)
    elif mode == "garbage":
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
    elif mode == "killed while its workers tell":
        print("Process ForkPoolWorker-1:", flush=True)
        time.sleep(0.3)
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


def rotate(config):
    """A token that serves once: the next one is told in a CONTROL message, as some OAuth sources do."""
    if "vault" not in config:
        return
    with open(config["vault"]) as file:
        valid = file.read()
    if config["token"] != valid:
        sys.exit(f"the token {config['token']} was used before")
    with open(config["vault"], "w") as file:
        file.write(valid + "+")
    changed = {"config": {**config, "token": valid + "+"}}
    say("CONTROL", {"type": "CONNECTOR_CONFIG", "emitted_at": 1, "connectorConfig": changed})


def check(config):
    rotate(config)
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


def state(stream, last, kind, lasts):
    lasts[stream] = last
    states = [{"stream_descriptor": {"name": n}, "stream_state": {"last": at}} for n, at in lasts.items()]
    if kind == "legacy":
        say("STATE", {"data": lasts})
    elif kind == "global":
        say("STATE", {"type": "GLOBAL", "global": {"shared_state": {"lsn": last}, "stream_states": states}})
    else:
        say("STATE", {"type": "STREAM", "stream": states[list(lasts).index(stream)]})


def remembered(given):
    """{stream: last number} out of the state file, whichever kind it is of."""
    if isinstance(given, dict):
        return given
    found = []
    for one in given:
        found += one["global"]["stream_states"] if one["type"] == "GLOBAL" else [one["stream"]]
    return {one["stream_descriptor"]["name"]: one["stream_state"]["last"] for one in found}


def changes(config, name, first):
    """(number, record) of everything after `first`: made up, or from the file that a test edits."""
    if "table" not in config:
        return [(n, {"id": n, "name": f"{name} {n}"}) for n in range(first, config.get("rows", 3) + 1)]
    with open(config["table"]) as file:
        return [pair for pair in enumerate(json.load(file), 1) if pair[0] >= first]


def read(config, catalog, states):
    rotate(config)
    known, kind = remembered(states), config.get("states", "stream")
    every = config.get("state_every", 0)
    for stream in catalog["streams"]:
        name = stream["stream"]["name"]
        status(name, "STARTED")
        last = known.get(name, 0)
        for number, data in changes(config, name, last + 1):
            say("RECORD", {"stream": name, "data": data, "emitted_at": 1_795_000_000_000 + number})
            last = number
            if every and number % every == 0:
                state(name, number, kind, known)
            if config.get("mode") == "break" and number == config["at"]:
                misbehave(config["how"])
            time.sleep(config.get("pause", 0))
        if not (config.get("mode") == "break"):
            state(name, last, kind, known)
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
