"""Text, names and types as SQL spells them, and the Arrow types that a table keeps those in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_SIMPLE = (
    "string",
    "boolean",
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "float",
    "double",
    "date",
    "timestamp",
    "binary",
)
_ALIASES = {
    "integer": "int",
    "long": "bigint",
    "bool": "boolean",
    "varchar": "string",
    "text": "string",
    "real": "float",
}


class TypeNameError(ValueError):
    """A type's name is none that a table can have."""


def _simple() -> dict[str, pa.DataType]:
    import pyarrow as pa

    types = (
        pa.string(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(),
        pa.date32(), pa.timestamp("us", "UTC"), pa.binary(),
    )  # fmt: skip
    return dict(zip(_SIMPLE, types, strict=True))


def check_type(name: str) -> None:
    """Raise TypeNameError where `name` is no type. Loads PyArrow (35 MB) for nested types only."""
    lower = name.strip().lower()
    if lower not in _SIMPLE and lower not in _ALIASES and not _decimal(lower):
        arrow_type(name)


def _decimal(lower: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)", lower)
    precision, scale = (int(found[1]), int(found[2])) if found else (0, 0)
    return (precision, scale) if 1 <= precision <= 38 and scale <= precision else None


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of an SQL name such as `decimal(12,2)` or `struct<a: int, b: array<string>>`."""
    import pyarrow as pa

    text = name.strip()
    lower = text.lower()
    simple = _simple()
    if lower in simple or lower in _ALIASES:
        return simple[_ALIASES.get(lower, lower)]
    if size := _decimal(lower):
        return pa.decimal128(*size)
    if lower.endswith(">"):
        outer, _, inside = text[:-1].partition("<")
        parts = list(_split(inside))
        match outer.strip().lower():
            case "array" if len(parts) == 1:
                return pa.list_(arrow_type(parts[0]))
            case "map" if len(parts) == 2:
                return pa.map_(arrow_type(parts[0]), arrow_type(parts[1]))
            case "struct" if parts:
                fields = [_named(part) for part in parts]
                return pa.struct([pa.field(name, arrow_type(inner)) for name, inner in fields])
            case _:
                pass
    raise TypeNameError(
        f"{name!r} is no type; known are {', '.join(_SIMPLE)}, decimal(p,s), array<…>, map<…, …>, struct<name: …>"
    )


def _named(part: str) -> tuple[str, str]:
    """Name and type of a struct's field; a name that is no plain word stands in backticks."""
    part = part.strip()
    if found := re.match(r"`((?:[^`]|``)*)`\s*:", part):
        return found[1].replace("``", "`"), part[found.end() :]
    if part.startswith("`"):
        raise TypeNameError(f"{part!r} opens a backtick that nothing closes")
    name, _, inner = part.partition(":")
    return name.strip(), inner


def _split(inside: str) -> Iterator[str]:
    depth, start, quoted = 0, 0, False
    for index, char in enumerate(inside):
        quoted ^= char == "`"
        if quoted:
            continue
        depth += (char in "<(") - (char in ">)")
        if char == "," and depth == 0:
            yield inside[start:index]
            start = index + 1
    if inside[start:].strip():
        yield inside[start:]


def type_name(kind: pa.DataType) -> str:
    """The SQL name of an Arrow type that a table can have."""
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{_word(f.name)}: {type_name(f.type)}' for f in kind.fields)}>"
    if pa.types.is_map(kind):
        return f"map<{type_name(kind.key_type)}, {type_name(kind.item_type)}>"
    if pa.types.is_list(kind):
        return f"array<{type_name(kind.value_type)}>"
    return next((name for name, simple in _simple().items() if simple == kind), str(kind))


def _word(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else f"`{name.replace('`', '``')}`"


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literally(uri: str) -> str:
    """The address for DuckDB, which takes it for a pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in uri)


def plainly(pattern: str) -> str:
    """The address that `literally` made into a pattern."""
    return re.sub(r"\[([*?[])\]", r"\1", pattern)
