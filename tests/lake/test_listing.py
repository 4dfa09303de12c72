"""Listings of a bucket with keys that other programs make: markers of folders, and slashes in a row."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest

from asgard_assets.lake.store import Found, Store

KEYS = ["x/dir/", "x/dir/a", "x/dir//b", "x/dir//", "x/dir/ü %41+", "x/other/", "x/top"]
"""A console makes the markers; `x/dir//b` is what a writer with a slash too many leaves."""
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
)


class Bucket(BaseHTTPRequestHandler):
    """ListObjectsV2 of KEYS, two to a page."""

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        prefix, after = (
            asked.get("prefix", ""),
            asked.get("continuation-token") or asked.get("start-after", ""),
        )
        keys = [key for key in sorted(KEYS, key=str.encode) if key.startswith(prefix) and key > after]
        folders = list[str]()
        if "delimiter" in asked:
            deeper = [key for key in keys if "/" in key[len(prefix) :]]
            folders = sorted({prefix + key[len(prefix) :].split("/")[0] + "/" for key in deeper})
            keys = [key for key in keys if key not in deeper]
        some, more = keys[:2], len(keys) > 2
        entry = "<Contents><Key>{}</Key><LastModified>2026-10-05T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>{}</Size></Contents>"
        body = HEAD + "".join(entry.format(escape(key), 0 if key.endswith("/") else 1) for key in some)
        body += "".join(
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in folders
        )
        body += f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        body += f"<NextContinuationToken>{escape(some[-1])}</NextContinuationToken>" if more else ""
        content = f"{body}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Store("s3://lake/x", f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_a_marker_is_no_file_and_slashes_in_a_row_spoil_nothing(store: Store) -> None:
    found = [each for page in store.pages("") for each in page]
    assert all(isinstance(each, Found) for each in found)
    paths = [each.path for each in found if isinstance(each, Found)]
    assert paths == ["dir//b", "dir/a", "dir/ü %41+", "top"]


def test_a_folder_with_a_marker_has_its_files(store: Store) -> None:
    assert store.names("dir") == ["a", "ü %41+"]
    assert store.names("other") == []


def test_one_level_names_its_folders_once(store: Store) -> None:
    [page] = list(store.pages("", folders=True))
    assert [each if isinstance(each, str) else each.path for each in page] == ["dir/", "other/", "top"]


def test_a_listing_goes_on_behind_a_name(store: Store) -> None:
    found = [each.path for page in store.pages("", after="dir/a") for each in page if isinstance(each, Found)]
    assert found == ["dir/ü %41+", "top"]


def test_arrows_view_has_the_same_files(store: Store) -> None:
    from pyarrow import fs as pafs

    found = store.filesystem.get_file_info(pafs.FileSelector("s3://lake/x", recursive=True))
    files = [info.path for info in found if info.type == pafs.FileType.File]
    assert "s3://lake/x/dir/a" in files and "s3://lake/x/top" in files
    assert not any(path.rstrip("/").endswith(("dir", "other")) for path in files)
