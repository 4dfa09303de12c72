"""A small API for streams: orders in pages, by the time of their last change. Orders may be added while it runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 100
START = datetime(2026, 10, 5, tzinfo=UTC)


@dataclass
class Feed:
    """The orders, and how many requests were answered."""

    url: str = ""
    orders: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0

    def add(self, count: int) -> None:
        """More orders, each a second later than the one before."""
        for number in range(len(self.orders), len(self.orders) + count):
            moment = START + timedelta(seconds=number)
            self.orders.append(
                {"id": f"o{number}", "updated_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "amount": number / 4}
            )

    def document(self, **more: Any) -> dict[str, Any]:
        """The source as YAML would say it: what changed since the cursor, to the topic events.orders."""
        return {
            "name": "orders",
            "kind": "changes",
            "form": {
                "type": "pull",
                "key": {"id": "string"},
                "items": "items",
                "pagination": {"type": "page"},
                "incremental": {"field": "updated_at", "start": "2026-10-01T00:00:00Z"},
            },
            "endpoint": {"base_url": self.url, "path": "/orders", "query": {"since": "{cursor.value}"}},
            "sink": {"kafka": "events.orders"},
            "quality": {"description": "Orders as the shop changes them."},
            **more,
        }


@contextmanager
def orders_feed(count: int = 0) -> Iterator[Feed]:
    feed = Feed()
    feed.add(count)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            feed.requests += 1
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            found = [order for order in feed.orders if order["updated_at"] >= asked.get("since", "")]
            first = (int(asked.get("page", 1)) - 1) * PAGE
            pages = max(1, -(-len(found) // PAGE))
            body = json.dumps({"items": found[first : first + PAGE], "total_pages": pages}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    feed.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield feed
    finally:
        server.shutdown()
        server.server_close()
