"""Reads events as JSON, builds the published classes of them, and prints what is wrong with each.

Runs in the environment of tests/servers/openlineage.py. A field that a class does not have, lacks or refuses is wrong.
"""

import importlib
import json
import pkgutil
import sys
import typing

import attr
import openlineage.client.event_v2 as event_v2
import openlineage.client.generated as generated

KINDS = {}
for module in pkgutil.iter_modules(generated.__path__):
    loaded = importlib.import_module(f"openlineage.client.generated.{module.name}")
    KINDS |= {name: kind for name, kind in vars(loaded).items() if name.endswith("Facet")}


def build(kind, value):
    """An object of the class, and of the classes that its fields name."""
    if not attr.has(kind):
        return value
    hints = typing.get_type_hints(kind, {**vars(typing), **vars(sys.modules[kind.__module__])})
    fields = {}
    for name, each in value.items():
        if name in ("_producer", "_schemaURL"):
            continue
        fields[name] = nested(hints.get(name), each)
    return kind(**fields)


def nested(hint, value):
    for kind in (hint, *typing.get_args(hint)):
        if attr.has(kind) and isinstance(value, dict):
            return build(kind, value)
        inner = typing.get_args(kind)
        if typing.get_origin(kind) is list and isinstance(value, list):
            return [nested(inner[0], each) for each in value]
        if typing.get_origin(kind) is dict and isinstance(value, dict):
            return {name: nested(inner[1], each) for name, each in value.items()}
    return value


def facets(found):
    """Facets as objects of the class that their schema names."""
    for each in (found or {}).values():
        address, kind = each["_schemaURL"], each["_schemaURL"].rpartition("/")[2]
        made = build(KINDS[kind], each)
        assert made._get_schema() == address, f"{kind}: {address} is not {made._get_schema()}"


def judge(event):
    for each in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        facets(each.pop("facets", None))
    for each in event["inputs"]:
        facets(each.pop("inputFacets", None))
    for each in event["outputs"]:
        facets(each.pop("outputFacets", None))
    assert event.pop("schemaURL") == event_v2.RunEvent._get_schema()
    event["eventType"] = event_v2.RunState[event["eventType"]]
    event["run"] = event_v2.Run(**event["run"])
    event["job"] = event_v2.Job(**event["job"])
    event["inputs"] = [event_v2.InputDataset(**each) for each in event["inputs"]]
    event["outputs"] = [event_v2.OutputDataset(**each) for each in event["outputs"]]
    event_v2.RunEvent(**event)


told = []
for event in json.load(sys.stdin):
    try:
        judge(event)
        told.append("")
    except Exception as error:  # noqa: BLE001  whatever the classes refuse it with
        told.append(f"{type(error).__name__}: {error}")
json.dump(told, sys.stdout)
