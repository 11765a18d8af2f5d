"""Objects in an archive class of S3: told apart from an outage, asked back by one request, read from the copy where there is one.

No S3 server at hand archives anything: the answers are those of the S3 API reference (GetObject, RestoreObject), over HTTP to the real clients.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from consilium_core.clock import FakeClock
from consilium_platform.blobs import BlobArchived, BlobNotFound, BlobsUnavailable, start_restore
from consilium_platform.blobs_bucket import drift, lifecycle_rules
from consilium_platform.blobs_fallback import FallbackBlobs
from consilium_platform.blobs_folder import FolderBlobs
from consilium_platform.blobs_s3 import S3Blobs
from consilium_platform.settings import S3Place

KEY = "originals/demo/ab/x.dcm"
INVALID_STATE = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidObjectState</Code><Message>The operation is not valid for the '
    "object's storage class</Message><StorageClass>GLACIER</StorageClass><RequestId>1</RequestId></Error>"
)
IN_PROGRESS = (
    "<Error><Code>RestoreAlreadyInProgress</Code><Message>Object restore is already in progress</Message></Error>"
)
DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Archive(ThreadingHTTPServer):
    """One archived object; ``restores``: what was asked for, ``answers``: what the next restores are answered with, ``read``: what reads are."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.restores: list[str] = []
        self.answers: list[tuple[int, str]] = []
        self.read = (403, INVALID_STATE)


class _Handler(BaseHTTPRequestHandler):
    server: Archive

    def do_GET(self) -> None:
        self._say(*self.server.read)

    def do_HEAD(self) -> None:
        self.send_response(200)
        for name, value in (
            ("Content-Length", "1000"), ("ETag", '"e"'), ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("x-amz-storage-class", "GLACIER"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.restores.append(f"{self.path} {body}")
        self._say(*(self.server.answers.pop(0) if self.server.answers else (202, "")))

    def _say(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def archive() -> Iterator[tuple[Archive, S3Blobs]]:
    """Yield the server and a client of it."""
    server = Archive()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    keys = SecretStr("key"), SecretStr("secret")
    store = S3Blobs(
        S3Place(f"http://127.0.0.1:{server.server_port}", "bucket", "us-east-1", *keys, restore_tier="Bulk")
    )
    yield server, store
    store.close()
    server.shutdown()
    server.server_close()
    thread.join()


async def test_reading_an_archived_object_says_so_and_restores_nothing(archive: tuple[Archive, S3Blobs]) -> None:
    server, store = archive
    for read in (store.get(KEY), store.get_range(KEY, 0, 10), anext(store.get_stream(KEY)), store.readable_size(KEY)):
        with pytest.raises(BlobArchived):
            await read
    assert await store.size(KEY) == 1000, "a look costs nothing, and tells nothing"
    assert server.restores == []


@pytest.mark.parametrize(("status", "body"), [(403, DENIED), (400, DENIED), (404, "")])
async def test_what_cannot_be_read_is_not_called_readable_because_it_is_there(
    archive: tuple[Archive, S3Blobs], status: int, body: str
) -> None:
    server, store = archive
    server.read = status, body
    with pytest.raises((BlobsUnavailable, BlobNotFound)):
        await store.readable_size(KEY)
    server.read = 416, ""
    assert await store.readable_size(KEY) == 1000, "an empty object has no first byte: its HEAD says how long it is"


async def test_a_restore_is_asked_for_as_set_and_one_that_goes_on_is_no_error(archive: tuple[Archive, S3Blobs]) -> None:
    server, store = archive
    server.answers = [(202, ""), (409, IN_PROGRESS), (403, INVALID_STATE), (403, DENIED)]
    for _ in range(3):
        assert await start_restore(store, KEY) == 12 * 3600
    with pytest.raises(BlobsUnavailable):
        await start_restore(store, KEY)
    assert server.restores[0].startswith(f"/bucket/{KEY}?restore")
    assert "<Days>7</Days>" in server.restores[0]
    assert "<Tier>Bulk</Tier>" in server.restores[0]


async def test_an_archived_object_comes_from_the_copy_and_the_bucket_is_not_taken_for_out(
    archive: tuple[Archive, S3Blobs], tmp_path: Path
) -> None:
    server, store = archive
    copy = FolderBlobs(tmp_path)
    both = FallbackBlobs(store, copy, FakeClock())
    with pytest.raises(BlobArchived):
        await both.get(KEY)
    await copy.put(KEY, b"whole")
    assert await both.get(KEY) == b"whole"
    with pytest.raises(BlobArchived):
        await both.get("originals/demo/ab/other.dcm")  # asked of the bucket at once
    await start_restore(both, KEY)
    assert len(server.restores) == 1
    turned = FallbackBlobs(copy, store, FakeClock())
    await asyncio.gather(copy.delete(KEY))
    with pytest.raises(BlobArchived):
        await turned.get(KEY)
    await start_restore(turned, KEY)
    with pytest.raises(BlobNotFound):
        await start_restore(copy, KEY)
    copy.close()


class _Client:
    def __init__(self, rules: list[dict[str, Any]]) -> None:
        self._rules = rules

    def get_bucket_versioning(self, **_: Any) -> dict[str, Any]:
        return {}

    def get_bucket_lifecycle_configuration(self, **_: Any) -> dict[str, Any]:
        return {"Rules": self._rules}


def test_originals_go_cold_only_by_a_policy_that_was_set() -> None:
    warm = S3Place(None, "b", "us-east-1")
    cold = S3Place(None, "b", "us-east-1", cold_class="GLACIER")
    assert [rule["ID"] for rule in lifecycle_rules(warm)] == ["consilium-uploads", "consilium-incomplete"]
    rule = lifecycle_rules(cold)[0]
    assert (rule["Filter"], rule["Transitions"]) == (
        {"Prefix": "originals/"}, [{"Days": 1095, "StorageClass": "GLACIER"}],
    )  # fmt: skip
    assert drift(_Client(lifecycle_rules(cold)), cold) == []
    assert drift(_Client(lifecycle_rules(warm)), cold) == ["lifecycle rule consilium-cold is missing"]
    sooner = [{**rule, "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]}, *lifecycle_rules(cold)[1:]]
    assert "consilium-cold" in drift(_Client(sooner), cold)[0]
