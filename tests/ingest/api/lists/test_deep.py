"""JSON of any depth is written as it was sent."""

from __future__ import annotations

import json

from asgard_assets.ingest.api.http.decoding import read_json
from asgard_assets.ingest.api.values import exact


def test_deep_values_are_written() -> None:
    deep = "[" * 800 + '1.10,{"b":[],"a":"x"}' + "]" * 800
    assert exact.dumps(read_json(f'{{"id":1,"x":{deep}}}')).decode() == f'{{"id":1,"x":{deep}}}'
    keys = exact.dumps(read_json(deep), sort_keys=True).decode()
    assert keys == deep.replace('{"b":[],"a":"x"}', '{"a":"x","b":[]}')
    assert json.loads(keys)
