"""pyiceberg 0.12 writes and reads a null list of structs as an empty list, and a null map of structs as an empty map: where
it puts the structs in again, it takes the offsets and forgets which were null. Here they are null again."""

from __future__ import annotations

from functools import wraps
from typing import Any


def keep() -> None:
    """Mend it in this process, once."""
    from pyiceberg.io.pyarrow import ArrowProjectionVisitor as Visitor

    for name in ("list", "map"):
        found = getattr(Visitor, name)
        if not hasattr(found, "__wrapped__"):
            setattr(Visitor, name, _kept(found))


def _kept(found: Any) -> Any:
    @wraps(found)
    def visit(self: Any, kind: Any, before: Any, *inside: Any) -> Any:
        after = found(self, kind, before, *inside)
        if after is None or not before.null_count or after.null_count == before.null_count:
            return after
        return _with_nulls(after, before.is_null())

    return visit


def _with_nulls(found: Any, nulls: Any) -> Any:
    """The lists or maps again, with these null. Their type stays itself: it carries the numbers of Iceberg's fields."""
    import pyarrow as pa
    import pyarrow.compute as pc

    offsets = pc.add(found.offsets, 0)  # pyright: ignore[reportAttributeAccessIssue] - a mask needs offsets of its own
    inside = (found.keys, found.items) if isinstance(found, pa.MapArray) else (found.values,)
    return type(found).from_arrays(offsets, *inside, type=found.type, mask=nulls)
