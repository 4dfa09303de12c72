"""How files are written: one model a format, told apart by `type`, each with the options that it knows."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from asgard_assets.quality.tables import Model

Kind = Literal["csv", "json", "parquet", "avro", "orc", "xml", "text", "binary", "fixed", "excel"]
Compression = Literal["auto", "none", "gzip", "zstd", "bz2", "xz", "lz4"]

_KINDS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".avro": "avro",
    ".orc": "orc",
    ".xml": "xml",
    ".txt": "text",
    ".log": "text",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
}
_COMPRESSIONS: dict[str, str] = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bz2",
    ".xz": "xz",
    ".lz4": "lz4",
}
_MAGIC = tuple((re.compile(pattern), name) for pattern, name in (
    (rb"PAR1", "parquet"),
    (rb"Obj\x01", "avro"),
    (rb"ORC", "orc"),
    (rb"\x1f\x8b", "gzip"),
    (rb"\x28\xb5\x2f\xfd", "zstd"),
    (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", "bz2"),
    (rb"\xfd7zXZ\x00", "xz"),
    (rb"\x04\x22\x4d\x18", "lz4"),
    (rb"PK\x03\x04", "zip"),
))  # fmt: skip
# UTF-16 begins as UTF-32 does. Without a mark every other byte of ASCII is 0, three of four in UTF-32.
_WIDE = tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in (
    (rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff", "utf-32"),
    (rb"\xff\xfe|\xfe\xff", "utf-16"),
    (rb"[^\x00]\x00{3}[^\x00]\x00{3}", "utf-32-le"),
    (rb"\x00{3}[^\x00]\x00{3}[^\x00]", "utf-32-be"),
    (rb"([^\x00]\x00){3}", "utf-16-le"),
    (rb"(\x00[^\x00]){3}", "utf-16-be"),
))  # fmt: skip


class _Encoded(Model):
    encoding: str = Field(
        default="utf8",
        description="How text is encoded, by the name of a Python codec, such as utf-8 or cp1252.",
    )

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            "a".encode(encoding)
        except (LookupError, UnicodeError) as error:
            raise ValueError(f"{encoding} is no codec that Python knows, such as utf8 or latin-1") from error
        return encoding

    @property
    def utf8(self) -> bool:
        return codecs.lookup(self.encoding).name in ("utf-8", "ascii")

    @property
    def ascii_superset(self) -> bool:
        """Whether line ends and delimiters are the bytes that they are in ASCII."""
        return '\r\n,"'.encode(self.encoding) == b'\r\n,"'


class _Local(_Encoded):
    decimal: Literal[".", ","] | None = Field(
        default=None,
        description="Sign before the fraction in declared columns of numbers: with a comma `1.234,56`, with a point "
        "`1,234.56`. Default: told by the values, if all of a column agree.",
    )
    dates: tuple[str, ...] = Field(
        default=(),
        description="How days and times are written in declared columns, as strptime has it: [%d.%m.%Y]. Default: ISO 8601, "
        "or told by the values, if all of a column agree.",
    )


class Auto(Model):
    """Each file by its extension, with that format's defaults: sources may mix formats."""

    type: Literal["auto"] = "auto"


class Csv(_Local):
    """Delimited text."""

    type: Literal["csv"] = "csv"
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="Character between fields. Default: a comma; a tab in files that end in .tsv.",
    )
    quote: str | None = Field(
        default='"',
        min_length=1,
        max_length=1,
        description="Character around fields. null: quotes have no meaning.",
    )
    escape: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="Character before a quote inside a field. A doubled quote always works.",
    )
    null_values: tuple[str, ...] = Field(default=("",), description="Texts without quotes that mean null.")
    header: bool = Field(default=True, description="Whether the first record names the columns.")
    names: tuple[str, ...] = Field(default=(), description="Columns of files without a header, in order.")
    skip_lines: int = Field(
        default=0, ge=0, description="Lines before the header, or before the first record."
    )
    skip_footer: int = Field(default=0, ge=0, description="Last lines that are no records, such as a total.")
    comment: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="Character at the beginning of lines that are no records, such as #.",
    )

    @field_validator("delimiter", "quote", "escape", "comment")
    @classmethod
    def _is_ascii(cls, char: str | None) -> str | None:
        if char is not None and (not char.isascii() or char in "\r\n\0"):
            raise ValueError(f"{char!r} is no ASCII character that can stand within a line")
        return char

    @model_validator(mode="after")
    def _are_different(self) -> Csv:
        used = [c for c in (self.delimiter, self.quote, self.escape, self.comment) if c is not None]
        if len(used) != len(set(used)):
            raise ValueError("`delimiter`, `quote`, `escape` and `comment` must be different characters")
        return self

    @model_validator(mode="after")
    def _names_without_header(self) -> Csv:
        if self.names and self.header:
            raise ValueError("`names` is for files without a header: set `header: false`, or leave names out")
        if not self.header and not self.names:
            raise ValueError("`header: false` needs `names`, the columns in order")
        return self


class Fixed(_Local):
    """Text in columns of fixed width, a record a line."""

    type: Literal["fixed"] = "fixed"
    widths: dict[str, int] = Field(
        min_length=1,
        description="Columns in order, each with its number of characters, such as {id: 6, name: 20}.",
    )
    skip_lines: int = Field(default=0, ge=0, description="Lines before the first record, such as a header.")
    skip_footer: int = Field(default=0, ge=0, description="Last lines that are no records, such as a total.")

    @field_validator("widths")
    @classmethod
    def _are_wide(cls, widths: dict[str, int]) -> dict[str, int]:
        if narrow := [name for name, width in widths.items() if width < 1]:
            raise ValueError(f"{', '.join(narrow)}: a column is at least 1 character wide")
        return widths


class Excel(Model):
    """A sheet of a workbook: .xlsx, .xlsm, .xlsb, .xls or .ods."""

    type: Literal["excel"] = "excel"
    sheet: str | None = Field(default=None, description="Name of the sheet. Default: the first one.")
    range: str | None = Field(
        default=None,
        pattern=r"^\$?[A-Za-z]{1,3}\$?[0-9]+:\$?[A-Za-z]{1,3}\$?[0-9]*$",
        description="Cells to read, the header's among them, such as B3:F200, or B3:F down to the last row.",
    )
    header_row: int = Field(
        default=1, ge=1, description="Row of the header, counted from 1 in the sheet, or in `range`."
    )


class Json(_Encoded):
    """JSON: a record a line, or one document whose records are the elements of an array."""

    type: Literal["json"] = "json"
    layout: Literal["auto", "lines", "document"] = Field(
        default="auto", description="auto: .json is a document or else lines, .jsonl and .ndjson are lines."
    )
    records: str = Field(
        default="",
        description="Path of the array of records in a document, as `data.items`; empty: the document "
        "itself.",
    )


class Parquet(Model):
    """Parquet, which knows its types."""

    type: Literal["parquet"] = "parquet"
    binary_as_text: bool | None = Field(
        default=None,
        description="Whether columns of bytes without an annotation are text, as old Impala, Hive and Spark wrote it. "
        "Default: they are where all values of the first rows are readable text, and the writer does not say.",
    )


class Avro(Model):
    """Avro object container files, which know their types."""

    type: Literal["avro"] = "avro"


class Orc(Model):
    """ORC, which knows its types."""

    type: Literal["orc"] = "orc"


class Xml(Model):
    """XML: each element of one name is a record; its children are columns, repeated ones arrays."""

    type: Literal["xml"] = "xml"
    row_tag: str = Field(min_length=1, description="Name of the element that is a record.")
    attribute_prefix: str = Field(
        default="_", description="Prefix of the names of columns that are attributes."
    )
    value_name: str = Field(
        default="_VALUE", description="Column with the text of an element that also has attributes."
    )


class Text(_Encoded):
    """Text, a record a line in the column `value`, or the whole file as one record."""

    type: Literal["text"] = "text"
    whole: bool = Field(default=False, description="One record for each file instead of one for each line.")


class Binary(Model):
    """Any file: one record, its bytes in the column `content`."""

    type: Literal["binary"] = "binary"


Format = Annotated[
    Auto | Csv | Json | Parquet | Avro | Orc | Xml | Text | Binary | Fixed | Excel,
    Field(discriminator="type"),
]
Concrete = Csv | Json | Parquet | Avro | Orc | Xml | Text | Binary | Fixed | Excel

_DEFAULTS: dict[str, Concrete] = {
    "csv": Csv(),
    "json": Json(),
    "parquet": Parquet(),
    "avro": Avro(),
    "orc": Orc(),
    "text": Text(),
    "binary": Binary(),
    "excel": Excel(),
}
_ARCHIVES = {".zip": "zip", ".tar": "tar", ".tgz": "tar", ".tbz2": "tar", ".txz": "tar"}
_PACKED = {".tgz": "gzip", ".tbz2": "bz2", ".txz": "xz"}


def extension(path: str) -> str:
    """The extension in lower case, without that of the compression: `.csv` of `a/B.CSV.gz`."""
    name = path.rpartition("/")[2].lower()
    for ending in _COMPRESSIONS:
        name = name.removesuffix(ending)
    dot = name.rfind(".")
    return name[dot:] if dot >= 0 else ""


def format_of(path: str, declared: Auto | Concrete) -> Concrete | None:
    """How the file is to be read; None where its extension says nothing and nothing was declared."""
    if not isinstance(declared, Auto):
        return declared
    return _DEFAULTS.get(_KINDS.get(extension(path), ""))


def archive_of(path: str, declared: Auto | Concrete) -> str:
    """`zip` or `tar` where the files in it are read, each as if it lay there; else ''."""
    return "" if isinstance(declared, Binary) else _ARCHIVES.get(extension(path), "")


def compression_of(path: str, declared: Compression) -> str:
    """`gzip`, `zstd`, `bz2`, `xz`, `lz4` or ''."""
    if declared != "auto":
        return "" if declared == "none" else declared
    name = path.lower()
    packed = next((kind for ending, kind in _PACKED.items() if name.endswith(ending)), "")
    return packed or next((kind for ending, kind in _COMPRESSIONS.items() if name.endswith(ending)), "")


def wide_encoding(head: bytes, how: Concrete) -> str | None:
    """The encoding of text that is read as UTF-8 and that its first bytes say is none; None where they do not."""
    if not isinstance(how, _Encoded) or not how.utf8:
        return None
    return next((name for pattern, name in _WIDE if pattern.match(head)), None)


HEAD_BYTES = 16
"""What `disguise` needs to see of a file."""


def compressed_with(head: bytes) -> str | None:
    """The compression that a file's first bytes say; None where they say none."""
    found = next((name for magic, name in _MAGIC if magic.match(head)), None)
    return found if found in _COMPRESSIONS.values() else None


def disguise(head: bytes, how: Concrete) -> str | None:
    """What a file really is, where its first bytes say that it is not what it is read as; None where they do not."""
    if isinstance(how, Binary):
        return None
    found = next((name for magic, name in _MAGIC if magic.match(head)), None)
    if found == "zip" and isinstance(how, Excel):
        return None
    if found in ("parquet", "orc") and _is_text(head):
        return None  # such as a CSV whose first column is `ORCID`
    return None if found == how.type else found


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text)
