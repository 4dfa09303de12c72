"""What an API source would send, was answered, and did, in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from asgard_assets import strangers
from asgard_assets.cli.options import Output, Report
from asgard_assets.cli.terminal import console, echo, print_json

if TYPE_CHECKING:
    from asgard_assets.ingest.api.http.messages import Request
    from asgard_assets.ingest.api.preview import DryRun, Preview
    from asgard_assets.ingest.api.source.models import ApiSource
    from asgard_assets.ingest.api.table.figures import Summary


def _show_request(request: Request) -> None:
    from asgard_assets.ingest.api.table.exchange import redacted_headers

    console.print(f"{request.method} {request.url}")
    for name, value in redacted_headers(request.headers).items():
        console.print(f"  {name}: {value}")
    if request.body:
        console.print(f"  {_short(request.body.decode())}")


def show_dry_run(found: DryRun, output: Output) -> None:
    """What a run would send: how many requests a partition, and the first of them."""
    if output is Output.json:
        first = [r if isinstance(r, str) else {"method": r.method, "url": r.url} for r in found.requests]
        print_json({"dry_run": True, "plan": found.plan, "requests": first})
        return
    for day, mode in found.plan.modes.items():
        carried = found.plan.carried[day]
        console.print(
            f"{day}: {mode}, {found.plan.send[day]:,} requests"
            + (f", {carried:,} rows kept" if carried else "")
        )
    for request in found.requests:
        console.print()
        if isinstance(request, str):
            console.print(f"no request: {request}")
        else:
            _show_request(request)
    console.print("\nnothing was sent")


def preview_data(source: ApiSource, found: Preview) -> dict[str, Any]:
    """A preview as plain data, for JSON."""
    return {
        "source": source.name, "rows": list(found.rows), "schema": found.payload, "cursor": found.cursor,
        "pagination": found.pagination, "requests": found.figures.requests, "notes": list(found.figures.notes),
    }  # fmt: skip


def show_preview(source: ApiSource, found: Preview, output: Report) -> None:
    """Requests, their answers, and what those tell of pages, cursor and schema."""
    if output is Report.json:
        print_json(preview_data(source, found))
        return
    if output is Report.markdown:
        _print_markdown(source, preview_data(source, found))
        return
    seen: set[Any] = set()
    for row in found.rows:
        if row["request_id"] in seen:
            continue
        seen.add(row["request_id"])
        items = [
            r for r in found.rows if r["request_id"] == row["request_id"] and r.get("item_index", -1) >= 0
        ]
        console.print(f"{row['method']} {row['url']}")
        for name, value in json.loads(row["request_headers"] or "{}").items():
            console.print(f"  {name}: {value}")
        if row["request_body"]:
            console.print(f"  {_short(row['request_body'])}")
        status = "no answer" if row["status_code"] is None else row["status_code"]
        console.print(
            f"→ {status} in {row['duration_seconds']:.2f} s, {row['attempts']} attempts, {row['outcome']}"
        )
        if row["error_message"]:
            console.print(f"  {row['error_message']}")
        if items:
            console.print(f"  {len(items)} items; the first: {_short(items[0]['payload'])}")
        elif row.get("body"):
            console.print(f"  {_short(row['body'])}")
        console.print()
    if not source.one_request_a_row:
        console.print(f"pagination: {found.pagination or source.form.pagination.type}")  # type: ignore[union-attr]
    if source.incremental:
        console.print(f"cursor after these pages: {found.cursor}")
    if found.payload is not None:
        console.print(f"schema: {json.dumps(found.payload)}")
    for path, count in found.figures.drift.items():
        console.print(f"does not fit the schema: {path} ({count})")
    if not found.rows:
        console.print("there are no rows to make requests of" if source.rows else "the list is empty")
    for note in found.figures.notes:
        console.print(f"note: {note}")
    console.print(f"{found.figures.requests} requests sent; nothing was written")


def show_summary(source: ApiSource, summary: Summary) -> None:
    """What a run did, partition by partition."""
    for day in summary.days:
        told = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(summary.outcomes.get(day, {}).items()))
        bad = f" · NOT PUBLISHED: {', '.join(summary.bad_days[day])}" if day in summary.bad_days else ""
        console.print(f"{source.sink.table} {day}: {told or 'no rows'} ({summary.modes[day]}){bad}")
        for table, rows in summary.children.items():
            console.print(f"  {table}: {rows.get(day, 0):,} rows")
    console.print(
        f"{summary.requests:,} requests in {summary.seconds:.1f} s ({summary.requests_per_second:,.0f}/s), "
        f"{summary.retries:,} retries, {summary.throttles:,} throttles, {summary.bytes:,} bytes"
        + ("" if summary.version is None else f"; table version {summary.version}")
    )
    console.print(f"ran in {summary.ran_in}: {summary.why}")
    if summary.pagination:
        console.print(f"pagination: {summary.pagination}")
    for note in summary.notes:
        console.print(f"note: {note}")
    for wait in summary.waits:
        done = "waited for it" if wait["waited"] else "not waited for"
        console.print(
            f"the API was closed until {wait['until']}, {wait['seconds']:,} s ({done}): {wait['why']}"
        )
    if summary.duplicates:
        console.print(f"repeated items left out: {sum(summary.duplicates.values()):,}")
    if summary.cursor is not None:
        console.print(f"cursor: {summary.cursor}")
    for path, count in summary.drift.items():
        console.print(f"does not fit the payload's schema: {path} ({count:,})")
    for failure in summary.failures[:5]:
        console.print(f"failed: {failure['ds']} {failure['row_key']} {failure['error']}")


def _short(value: Any, length: int = 400) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= length else f"{text[:length]} …"


def _print_markdown(source: ApiSource, told: dict[str, Any]) -> None:
    rows = [(row["method"], row["url"], row["status_code"], row["outcome"]) for row in told["rows"]]
    lines = [
        f"## Preview: {source.sink.table}",
        "",
        strangers.table(("method", "url", "status", "outcome"), dict.fromkeys(rows)),
    ]
    lines += ["", f"- {told['requests']} requests sent; nothing was written"]
    lines += (
        [f"- schema: {strangers.inline(json.dumps(told['schema']))}"] if told["schema"] is not None else []
    )
    echo("\n".join(lines))
