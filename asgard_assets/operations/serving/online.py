"""Reads of Feast's online store, without what Feast does for on-demand views and services: half of its CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class OnlineReader:
    """A Feast store, opened once. Not for several threads at a time."""

    def __init__(self, config: Any) -> None:
        from feast import FeatureStore
        from feast.infra.provider import get_provider

        self._store, self._provider = FeatureStore(config=config), get_provider(config)
        self._views: dict[str, Any] = {}

    def read(
        self, view: str, names: Sequence[str], keys: Mapping[str, Sequence[int | str]]
    ) -> dict[str, list[Any]]:
        """The newest values by feature, in the order of the keys; None: nothing is known. Raises what Feast raises."""
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        if view not in self._views:
            self._views[view] = self._store.get_feature_view(view)
        rows = list(zip(*keys.values(), strict=True))
        places = {row: number for number, row in enumerate(dict.fromkeys(rows))}
        columns = list(keys)
        asked = [
            EntityKey(
                join_keys=columns,
                entity_values=[
                    Value(int64_val=value) if isinstance(value, int) else Value(string_val=value)
                    for value in row
                ],
            )
            for row in places
        ]
        found = self._provider.online_read(self._store.config, self._views[view], asked, list(names))
        known = [values or {} for _, values in found]
        return {name: [_plain(known[places[row]].get(name)) for row in rows] for name in names}


def _plain(value: Any) -> Any:
    """The value inside of Feast's own: a number, text or boolean."""
    kind = None if value is None else value.WhichOneof("val")
    return None if kind is None or kind == "null_val" else getattr(value, kind)
