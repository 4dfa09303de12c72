"""The receiver of a store's webhook: who may post what, and where it goes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.landing.notices import notices_of, read_notices
from asgard_assets.ingest.files.landing.receiver import MESSAGE_BYTES, Receiver, application
from asgard_assets.settings import Settings
from tests.ingest.files.landing.test_notices import DAYS, event, source
from tests.ingest.files.landing.test_s3 import store
from tests.servers.builds import free_port

TOKEN = "0123456789abcdef"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def landing(settings: Settings) -> Landing:
    (Path(settings.landing_root) / "orders" / f"ds={DAYS[0]}").mkdir(parents=True)
    (Path(settings.landing_root) / "orders" / f"ds={DAYS[0]}" / "a.csv").write_text("id\n1\n")
    return Landing.from_settings(settings)


def posted(receiver: Receiver, *requests: tuple[str, dict[str, str], bytes]) -> list[tuple[int, str]]:
    async def main() -> list[tuple[int, str]]:
        async with TestClient(TestServer(application(receiver, TOKEN))) as client:
            found = []
            for path, headers, body in requests:
                async with client.post(path, headers=headers, data=body) as answer:
                    found.append((answer.status, (await answer.text()).strip()))
            return found

    return asyncio.run(main())


def left(landing: Landing, folder: str = "_events") -> list[str]:
    return sorted(p.name for p in (Path(landing.root) / folder).glob("*"))


def test_a_message_goes_to_the_sources_whose_files_it_names(landing: Landing) -> None:
    invoices = source(name="invoices", path="invoices", notify={"type": "folder", "path": "_events/invoices"})
    receiver = Receiver(landing, [source(), invoices, source(name="third", notify=None)])
    mine = json.dumps(event(f"orders/ds%3D{DAYS[0]}/a.csv")).encode()
    other = json.dumps(event("elsewhere/a.csv")).encode()
    test = b'{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "landing"}'
    answers = posted(
        receiver, ("/", RIGHT, mine), (f"/{TOKEN}", {}, mine), ("/", RIGHT, other), ("/", RIGHT, test)
    )
    nobody = (200, "no source has such a file")
    assert answers == [(200, "orders"), (200, "orders"), nobody, nobody]
    assert len(left(landing)) == 2 and left(landing, "_events/invoices") == []
    queue = notices_of(landing, source())
    assert queue is not None
    notices, unread = read_notices(landing, source(), queue)
    assert ([f.path for n in notices for f in n.files], unread) == ([f"orders/ds={DAYS[0]}/a.csv"] * 2, 0)


def test_strangers_and_what_is_no_event_are_refused_and_leave_nothing(landing: Landing) -> None:
    receiver = Receiver(landing, [source()])
    mine = json.dumps(event(f"orders/ds%3D{DAYS[0]}/a.csv")).encode()
    answers = posted(
        receiver,
        ("/", {}, mine),
        ("/", {"Authorization": "Bearer wrong"}, mine),
        ("/wrong", RIGHT, mine),
        *(("/", RIGHT, body) for body in (b"", b"no json", b"[]", b"3", b'{"Records": [{}]}', b"\xff")),
        ("/", RIGHT, b"[" * 100_000),
        ("/", RIGHT, b" " * (MESSAGE_BYTES + 1)),
    )
    assert [status for status, _ in answers] == [401] * 3 + [400] * 7 + [413]
    assert TOKEN not in "".join(text for _, text in answers)
    assert left(landing) == []


def test_too_many_messages_are_put_off_until_some_were_read(landing: Landing) -> None:
    receiver = Receiver(landing, [source()], most_waiting=2)
    mine = ("/", RIGHT, json.dumps(event(f"orders/ds%3D{DAYS[0]}/a.csv")).encode())
    assert [status for status, _ in posted(receiver, *[mine] * 3)] == [200, 200, 503]
    (Path(landing.root) / "_events" / left(landing)[0]).unlink()
    assert [status for status, _ in posted(receiver, mine, mine)] == [200, 503]


def test_a_receiver_that_no_source_reads_from_says_so(landing: Landing) -> None:
    with pytest.raises(ConfigError, match="notify: {type: folder"):
        Receiver(landing, [source(notify=None)])


@contextmanager
def served(receiver: Receiver, port: int) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(application(receiver, TOKEN))

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()


@pytest.mark.servers
def test_what_a_store_posts_lies_in_the_landing_for_the_sensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """versitygw sends no header: the token stands in the address."""
    port, events = free_port(), free_port()
    landing = Landing("s3://landing/in", f"http://127.0.0.1:{port}")
    with (
        served(Receiver(landing, [source()]), events),
        store(tmp_path, monkeypatch, f"http://127.0.0.1:{events}/{TOKEN}", port) as (_, _, client),
    ):
        key = f"in/orders/ds={DAYS[0]}/a b+c é.csv"
        client.put_object(Bucket="landing", Key=key, Body=b"id\n1\n")
        queue, found, end = notices_of(landing, source()), [], time.monotonic() + 20
        assert queue is not None
        while not found and time.monotonic() < end:
            time.sleep(0.1)
            found, _ = read_notices(landing, source(), queue)
        assert [file.path for notice in found for file in notice.files] == [key.removeprefix("in/")]
        queue.remove([notice.handle for notice in found])
        assert read_notices(landing, source(), queue) == ([], 0)
