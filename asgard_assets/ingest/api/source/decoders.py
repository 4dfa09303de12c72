"""How the body of a list's page is written: the `decode` section of a pull form."""

from __future__ import annotations

import codecs
from typing import Literal

from pydantic import Field, field_validator

from asgard_assets.quality.tables import Model

Format = Literal["auto", "json", "ndjson", "csv", "xml"]


class Decode(Model):
    """How a body is read. Compression (gzip, zip, tar) is told from the bytes themselves."""

    format: Format = Field(
        default="auto",
        description="auto: by Content-Type, else by the first byte. ndjson: one JSON value a line.",
    )
    charset: str | None = Field(
        default=None, description="How bytes become text; default: what the answer says, else UTF-8."
    )
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="Between the fields of a CSV; default: told."
    )
    header: bool = Field(
        default=True, description="Whether a CSV's first line names its columns; else they are c1, c2 …"
    )
    member: str | None = Field(
        default=None,
        description="Files to read of a zip or tar, such as `*.json`; default: all. Their items are one list.",
    )

    @field_validator("charset")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                codecs.lookup(name)
            except LookupError:
                raise ValueError(f"unknown charset {name!r}; write it as utf-8, latin-1, cp1252 …") from None
        return name
