"""The two forms of an API source: a request for each row, or a list endpoint walked by its pagination."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from asgard_assets.ingest.api.source.decoders import AsyncJob, Decode
from asgard_assets.ingest.api.source.parameters import Misfit
from asgard_assets.quality.tables import Model

KeyType = Literal["bigint", "integer", "double", "boolean", "string"]
OWN_COLUMNS = frozenset(
    {"request_id", "row_key", "item_index", "payload", "body", "ds", "url", "deleted", "row_hash"}
)
"""Columns of every table, which no column of an item or row may be called."""


class Rows(Model):
    """Where the rows of a row-driven source come from: a lake table, SQL over lake tables, or, where neither
    is named, a frame that the caller of `run_pipeline` gives."""

    table: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9_]+/[a-z0-9_]+$",
        description="Table (stage/table) whose rows of the partition's day are used.",
    )
    query: str | None = Field(
        default=None, description="One SELECT (DuckDB SQL) over `stage.table`; `$ds` is the partition."
    )
    reads: tuple[str, ...] = Field(default=(), description="Tables (stage/table) that the query reads.")
    key: dict[str, KeyType] = Field(
        min_length=1, description="Key columns and their types; they become Bronze columns."
    )
    columns: tuple[str, ...] = Field(default=(), description="Columns, beside the key, that templates use.")
    carry: dict[str, KeyType] = Field(
        default_factory=dict,
        description="Columns, beside the key, that are stored in the table too, with their types.",
    )
    required: tuple[str, ...] = Field(
        default=(),
        description="Columns without which no request is made: the row becomes a failed row with the reason.",
    )

    @model_validator(mode="after")
    def _names_are_plain(self) -> Rows:
        if odd := [
            name
            for name in (*self.key, *self.columns, *self.required, *self.carry)
            if not re.fullmatch(r"\w+", name)
        ]:
            raise ValueError(
                f"{', '.join(odd)}: columns are named with letters, digits and _; rename in the query"
            )
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Rows:
        if self.table and self.query:
            raise Misfit("query", "give rows.table or rows.query, not both")
        if self.query and "reads" not in self.model_fields_set:
            raise Misfit(
                "reads",
                "rows.reads must name the tables that rows.query reads, as stage/table; [] where it reads none",
            )
        return self

    @model_validator(mode="after")
    def _carried_columns_are_free(self) -> Rows:
        for name in self.carry:
            if name in self.key or name in OWN_COLUMNS:
                raise Misfit(
                    f"carry.{name}", f"the table has a column {name} already; rename it in the query"
                )
        return self

    @property
    def carried(self) -> tuple[str, ...]:
        """Columns that are needed besides the key."""
        found = (*self.columns, *self.required, *self.carry)
        return tuple(dict.fromkeys(n for n in found if n not in self.key))

    @property
    def shown(self) -> dict[str, KeyType]:
        """Columns of the row that stand in the table, with their types."""
        return {**self.key, **self.carry}

    @property
    def upstreams(self) -> tuple[str, ...]:
        return (self.table,) if self.table else self.reads


class RowForm(Model):
    """Each row of a table, query or frame becomes one request."""

    type: Literal["row"]
    rows: Rows = Field(description="Where the rows come from; each becomes one request.")
    more_pages: Literal["fail", "keep"] = Field(
        default="fail",
        description="An answer that is the first page of a list. fail: the partition is not published. keep: it is "
        "published with a warning. To read all pages, use type: pull with rows.",
    )


# Pagination ------------------------------------------------------------------------------------------------

Place = Annotated[
    Literal["query", "body"],
    Field(description="Where the parameters go: the query, or dotted paths in the JSON body."),
]


class AutoPagination(Model):
    """Told from the first answer: a Link header, a next URL, a cursor, page numbers or an offset.

    If an answer has anything that looks like more and it is not plain how to get it, the walk fails. The error names the key, its value and the YAML that would say it.
    """

    type: Literal["auto"]


class PagePagination(Model):
    """Pages counted up."""

    type: Literal["page"]
    param: str = Field(default="page", description="Parameter with the page's number.")
    start: int = Field(default=1, description="Number of the first page.")
    size_param: str | None = Field(
        default="per_page", description="Parameter with the number of items of a page; null: none is sent."
    )
    size: int = Field(default=100, ge=1, description="How many items to ask for in a page.")
    pages: str | None = Field(
        default=None,
        description="Path of the page count in the body, such as `meta.pages`: the walk ends after that many pages, "
        "empty ones included. Without it, it ends with an empty page, or with one shorter than `size` if an earlier "
        "page had just `size` items.",
    )
    more: str | None = Field(
        default=None, description="Path of a flag in the body, such as `has_more`; false ends the walk."
    )
    last: str | None = Field(
        default=None, description="Path of a flag that is true on the last page, such as `last` or `isLast`."
    )
    place: Place = "query"


class OffsetPagination(Model):
    """Items skipped."""

    type: Literal["offset"]
    param: str = Field(default="offset", description="Parameter with the number of items to skip.")
    start: int = Field(
        default=0, description="Offset of the first item; 1 where the API counts from 1 (SCIM)."
    )
    size_param: str = Field(default="limit", description="Parameter with the number of items of a page.")
    size: int = Field(default=100, ge=1, description="How many items to ask for in a page.")
    total: str | None = Field(
        default=None,
        description="Path of the number of all items in the body: the walk ends there. Without it, it ends with an "
        "empty page, or with one shorter than `size` if an earlier page had just `size` items.",
    )
    more: str | None = Field(
        default=None, description="Path of a flag in the body, such as `has_more`; false ends the walk."
    )
    last: str | None = Field(
        default=None, description="Path of a flag that is true on the last page, such as `last` or `isLast`."
    )
    place: Place = "query"


class CursorPagination(Model):
    """Each page names the token of the next."""

    type: Literal["cursor"]
    param: str = Field(default="cursor", description="Parameter that carries the token of the next page.")
    cursor: str = Field(
        default="next_cursor",
        description="Path of the next token in the body; null, absent, empty, false, 0 or -1 ends.",
    )
    header: str | None = Field(
        default=None,
        description="Response header with the next token, used in place of `cursor`, such as `X-Continuation-Token`.",
    )
    last_item: str | None = Field(
        default=None,
        description="Path in the page's last item; used in place of `cursor`, as in `id`. Without a flag the walk "
        "ends with an empty page, or where the value does not move.",
    )
    more: str | None = Field(
        default=None, description="Path of a flag in the body, such as `has_more`; false ends the walk."
    )
    last: str | None = Field(
        default=None, description="Path of a flag that is true on the last page, such as `last` or `isLast`."
    )
    end: tuple[JsonValue, ...] = Field(
        default=(None, "", False, 0, -1, "0", "-1"), description="Tokens that mean the end of the list."
    )
    place: Place = "query"

    @model_validator(mode="after")
    def _one_token(self) -> CursorPagination:
        if self.last_item and self.header:
            raise Misfit("header", "give pagination.last_item or pagination.header, not both")
        return self


class NextUrlPagination(Model):
    """Each page's body, or a header of its answer, holds the address of the next."""

    type: Literal["next_url"]
    url: str = Field(
        default="next",
        description="Path of the next page's URL in the body, such as `links[rel=next].href`; null ends, and so "
        "does a short page that names its own address.",
    )
    header: str | None = Field(
        default=None,
        description="Response header with the next page's URL, used in place of `url`, such as "
        "`Next-Page`. (For Link: type link.)",
    )
    more: str | None = Field(
        default=None, description="Path of a flag in the body, such as `has_more`; false ends the walk."
    )
    last: str | None = Field(
        default=None, description="Path of a flag that is true on the last page, such as `end_of_stream`."
    )
    end: tuple[JsonValue, ...] = Field(
        default=(None, "", False), description="Values in place of an address that mean the end of the list."
    )


class LinkPagination(Model):
    """Each answer's Link header holds the address of the next (RFC 8288)."""

    type: Literal["link"]


class NoPagination(Model):
    """One answer holds everything."""

    type: Literal["none"] = "none"


Pagination = Annotated[
    NoPagination
    | AutoPagination
    | PagePagination
    | OffsetPagination
    | CursorPagination
    | NextUrlPagination
    | LinkPagination,
    Field(discriminator="type"),
]


class Incremental(Model):
    """`{cursor.value}` is where the last published run ended; it is kept beside the table."""

    field: str | None = Field(
        default=None,
        description="Path in each item, such as `updated_at`; the greatest value becomes the cursor.",
    )
    body: str | None = Field(
        default=None,
        description="Path in the last page's body, such as `meta.sync_token`; its value becomes the cursor.",
    )
    start: str = Field(
        default="",
        description="Cursor of the very first run. Without it, `{cursor.value|optional}` leaves its parameter out.",
    )
    address: bool = Field(
        default=False,
        description="The cursor at `body` is an address (such as `@odata.deltaLink`): the next run's first request goes "
        "there. The first run asks as `endpoint` says.",
    )
    overlap_seconds: float | None = Field(
        default=None,
        ge=0,
        description="Ask again for this much before the cursor: for rows with the same time, and rows that were "
        "written late. With a key, rows that come again in a partition are stored once. Default: 60 where the "
        "cursor is a time that a run left and the items have a key; rows that come again unchanged are then left out.",
    )
    future_tolerance_seconds: float = Field(
        default=3600, ge=0, description="A time further in the future than this does not move the cursor."
    )

    @model_validator(mode="before")
    @classmethod
    def _in_seconds(cls, data: Any) -> Any:
        for name in ("overlap", "future_tolerance"):
            if isinstance(data, dict) and name in data:
                raise Misfit(
                    name, f"write incremental.{name}_seconds, such as {name}_seconds: 60, not {data[name]!r}"
                )
        return data

    @model_validator(mode="after")
    def _one_place(self) -> Incremental:
        if (self.field is None) == (self.body is None):
            raise Misfit("field", "give incremental.field or incremental.body: where the cursor is found")
        if self.address and (self.body is None or self.start):
            raise Misfit(
                "address", "an address comes from incremental.body, and the first run needs no start"
            )
        return self


class Deleted(Model):
    """How an item says that it was deleted (a tombstone)."""

    field: str = Field(
        description="Path in the item that says whether it was deleted, such as `status` or "
        "`meta.removed_at`."
    )
    value: JsonValue = Field(
        default=None,
        description="The value that means deleted; default: anything but null, false and an empty text.",
    )


class Expect(Model):
    """When a walk is complete. What the answers say about more is checked without asking: totals, page counts, flags, tokens, links, Content-Range."""

    total: str | None = Field(
        default=None,
        description="Path of the number of all items in the body, or `header:NAME`. A walk that ends with another "
        "number of items is an error.",
    )
    ignore: tuple[str, ...] = Field(
        default=(),
        description="Keys of the body (as paths) and names of headers that look like more, but mean something else.",
    )
    window: int | None = Field(
        default=10_000,
        ge=1,
        description="Number of results after which the API cuts a list off, as many searches do; null: it never does. A "
        "list by pages or offsets that ends with just as many items is an error, unless a total or a flag confirms it.",
    )
    complete: bool = Field(
        default=True,
        description="false: take what the walk finds, although the answers say that there is more.",
    )


class PullForm(Model):
    """A list endpoint, walked page by page: once a partition, or with `rows` once for each parent row."""

    type: Literal["pull"]
    rows: Rows | None = Field(
        default=None,
        description="Parent rows: each of them has a list of its own. Their key columns are columns of "
        "the table too.",
    )
    items: str = Field(
        default="",
        description="Path of the list in the body, such as `data`; empty: the body (with pagination auto: found).",
    )
    map_key: str | None = Field(
        default=None,
        description="For APIs whose `items` is an object: each value is an item, and its name is stored "
        "under this key.",
    )
    absent: Literal["error", "empty"] = Field(
        default="error",
        description="What a body without anything at `items` means: an error, or an empty list. (null is "
        "an empty list.)",
    )
    job: AsyncJob | None = Field(
        default=None,
        description="For APIs that make the list first: create a job, ask until it is ready, download, "
        "clean up.",
    )
    decode: Decode = Field(default=Decode(), description="How the body is written: JSON, NDJSON, CSV, XML.")
    pagination: Pagination = Field(default=NoPagination(), description="How to get from page to page.")
    same_origin: Literal["auto", "strict", "path"] = Field(
        default="auto",
        description="A next address on another origin, as of servers that do not know their own outer name. auto: if its "
        "path is the one that was just asked, the list goes on there on your own origin; else it is an error. strict: "
        "always an error. path: only its path and query are used. Credentials never go elsewhere.",
    )
    deleted: Deleted | None = Field(
        default=None, description="How an item says that it was deleted; the table gets a column `deleted`."
    )
    expect: Expect = Field(default=Expect(), description="How to tell that all pages were read.")
    max_pages: int = Field(
        default=10_000, ge=1, description="A list that goes on after this many pages is an error."
    )
    max_empty_pages: int = Field(
        default=10, ge=1, description="A list that goes on after this many empty pages in a row is an error."
    )
    key: dict[str, KeyType] = Field(
        default_factory=dict,
        description="Key of an item: paths in it and their types. They become columns, and of several items "
        "with one key in a partition the last is kept.",
    )
    incremental: Incremental | None = Field(
        default=None, description="Start at the cursor where the last run ended."
    )

    @model_validator(mode="after")
    def _job_fits(self) -> PullForm:
        if self.job is not None and not isinstance(self.pagination, NoPagination):
            raise Misfit("pagination", "a job's result has no pages; each of its files is read whole")
        return self

    @model_validator(mode="after")
    def _stream_fits(self) -> PullForm:
        if self.decode.stream and (not isinstance(self.pagination, NoPagination) or self.map_key):
            raise Misfit("decode.stream", "a body that is read piece by piece has no pages and no map_key")
        return self

    @model_validator(mode="after")
    def _parents_fit(self) -> PullForm:
        if self.rows is None:
            return self
        if both := {*self.rows.shown} & {column_of(path) for path in self.key}:
            raise Misfit(
                "rows.key",
                f"{', '.join(sorted(both))} is a column of the parents and of the items; rename the parents' column "
                "in rows.query, such as `select id as parent_id`",
            )
        return self

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that are an item's key in a partition; none where none was declared."""
        parents = self.rows.key if self.rows else ()
        return (*parents, *(column_of(path) for path in self.key)) if self.key else ()

    @model_validator(mode="after")
    def _key_columns_are_free(self) -> PullForm:
        for path in self.key:
            if column_of(path) in OWN_COLUMNS:
                raise Misfit(f"key.{path}", f"the table has a column {column_of(path)} of its own")
        return self


def column_of(path: str) -> str:
    """The column that a path in an item becomes: `user.id` is user_id."""
    return re.sub(r"\W+", "_", path)


Form = Annotated[RowForm | PullForm, Field(discriminator="type")]
