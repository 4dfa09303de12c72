"""The two forms of an API source: a request for each row, or a list endpoint walked by its pagination."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from asgard_assets.quality.tables import Model

KeyType = Literal["bigint", "integer", "double", "boolean", "string"]


class Rows(Model):
    """Where the rows of a row-driven source come from: a lake table, SQL over lake tables, or, where neither
    is named, a frame that the caller of `run_pipeline` gives."""

    table: str | None = Field(
        default=None, pattern=r"^[a-z0-9_]+/[a-z0-9_]+$", description="stage/table, its `ds`."
    )
    query: str | None = Field(
        default=None, description="One SELECT (DuckDB SQL) over `stage.table`; `$ds` is the partition."
    )
    reads: tuple[str, ...] = Field(default=(), description="Tables (stage/table) that the query reads.")
    key: dict[str, KeyType] = Field(
        min_length=1, description="Key columns and their types; they become Bronze columns."
    )
    columns: tuple[str, ...] = Field(default=(), description="Further columns that templates use.")

    @model_validator(mode="after")
    def _names_are_plain(self) -> Rows:
        if odd := [name for name in (*self.key, *self.columns) if not re.fullmatch(r"\w+", name)]:
            raise ValueError(
                f"{', '.join(odd)}: columns are named with letters, digits and _; rename in the query"
            )
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Rows:
        if self.table and self.query:
            raise ValueError("give rows.table or rows.query, not both")
        if self.query and not self.reads:
            raise ValueError("rows.reads must name the tables that rows.query reads, as stage/table")
        return self

    @property
    def upstreams(self) -> tuple[str, ...]:
        return (self.table,) if self.table else self.reads


class RowForm(Model):
    type: Literal["row"]
    rows: Rows


class PagePagination(Model):
    type: Literal["page"]
    param: str = "page"
    start: int = 1
    size_param: str | None = "per_page"
    size: int = Field(default=100, ge=1)
    pages: str | None = Field(
        default=None, description="Path of the page count in the body, such as `meta.pages`."
    )


class OffsetPagination(Model):
    type: Literal["offset"]
    param: str = "offset"
    size_param: str = "limit"
    size: int = Field(default=100, ge=1)


class CursorPagination(Model):
    type: Literal["cursor"]
    param: str = "cursor"
    cursor: str = Field(default="next_cursor", description="Path of the next cursor in the body; null ends.")


class NextUrlPagination(Model):
    type: Literal["next_url"]
    url: str = Field(default="next", description="Path of the next page's URL in the body; null ends.")


class LinkPagination(Model):
    type: Literal["link"]


class NoPagination(Model):
    type: Literal["none"] = "none"


Pagination = Annotated[
    NoPagination | PagePagination | OffsetPagination | CursorPagination | NextUrlPagination | LinkPagination,
    Field(discriminator="type"),
]


class PullForm(Model):
    type: Literal["pull"]
    items: str = Field(
        default="", description="Path of the list in the body, such as `data`; empty: the body."
    )
    pagination: Pagination = NoPagination()
    max_pages: int = Field(default=10_000, ge=1, description="A walk that never ends is an error.")


Form = Annotated[RowForm | PullForm, Field(discriminator="type")]
