"""What a command is about: one source by its name, a YAML file, or the assets of a selection."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError

if TYPE_CHECKING:
    import dagster as dg

    from asgard_assets.operations.sources import Catalog, Source

FILES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Target:
    """The assets that are meant, upstream ones first, and the sources among them.

    `source` is set where a person named one; an Airbyte source then also means the tables of its streams.
    """

    text: str
    assets: tuple[str, ...]
    sources: tuple[Source, ...]
    source: Source | None = None


def is_file(text: str) -> bool:
    """Whether a person means a YAML file, and no source of the project."""
    return Path(text).suffix in FILES


def find(catalog: Catalog, text: str) -> Target:
    """What `text` means: a source's name, else a selection as Dagster writes it, or `stage/table`; several with commas.

    Raises ConfigError that says what there is.
    """
    if source := catalog.named(text):
        return Target(text, source.assets, (source,), source)
    graph, chosen = catalog.graph, set[str]()
    for part in filter(None, map(str.strip, text.split(","))):
        source = catalog.named(part)
        keys = _selected(catalog, graph, part) if source is None else ()
        chosen |= set(source.assets) if source else {key.to_user_string() for key in keys}
    assets = tuple(k.to_user_string() for k in graph.toposorted_asset_keys if k.to_user_string() in chosen)
    found = dict.fromkeys(source for asset in assets if (source := catalog.of_table(asset)))
    return Target(text, assets, tuple(found))


def everything(catalog: Catalog) -> Target:
    """All sources of the project."""
    assets = dict.fromkeys(asset for source in catalog.sources for asset in source.assets)
    return Target("", tuple(assets), catalog.sources)


def one_source(catalog: Catalog, text: str) -> Source:
    """The one source that is named. Raises ConfigError that lists those which exist."""
    source = catalog.named(text)
    if source is None:
        raise ConfigError(f"there is no source {text!r}; the project has {named(catalog)}")
    return source


def named(catalog: Catalog) -> str:
    """The names of all sources, for an error."""
    return ", ".join(source.name for source in catalog.sources) or "none"


def _selected(catalog: Catalog, graph: dg.AssetGraph, text: str) -> set[dg.AssetKey]:
    import dagster as dg

    known = graph.materializable_asset_keys
    plain = text.replace("/", "").replace("_", "").isalnum()
    selection = f'key:"{text}"' if plain and "/" in text else text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)  # of '*', an option that it does not set
            chosen = dg.AssetSelection.from_string(selection).resolve(graph) & known
    except Exception as error:  # noqa: BLE001  (Dagster raises many kinds, each with its own words)
        if plain:
            raise ConfigError(_nothing(catalog, graph, text)) from error
        raise ConfigError(f"{text!r} is not a selection of assets: {error}") from error
    if not chosen:
        raise ConfigError(_nothing(catalog, graph, text))
    return chosen


def _nothing(catalog: Catalog, graph: dg.AssetGraph, text: str) -> str:
    tables = sorted(key.to_user_string() for key in graph.materializable_asset_keys)
    return (
        f"{text!r} is no source and selects no asset; the project has {named(catalog)} (sources) and "
        f"{', '.join(tables[:10])}{' …' if len(tables) > 10 else ''} (tables)"
    )
