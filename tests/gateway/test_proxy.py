"""The door in front of services of other processes: streaming both ways, headers, failures, WebSockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from consilium_gateway.adapters.proxy import ProxyUpstream

from .serving import served


@dataclass
class Service:
    """A plain ASGI service that shows what reached it."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[Scope] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    closed_with: list[int] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope)
        await getattr(self, "at_" + scope["path"].rsplit("/", 1)[-1].replace("-", "_"))(scope, receive, send)

    async def at_echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        digest, size, more = hashlib.sha256(), 0, True
        while more:
            message = await receive()
            body = message.get("body", b"")
            digest.update(body)
            size += len(body)
            self.chunks.append(len(body))
            more = message.get("more_body", False)
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        told = {
            "method": scope["method"], "path": scope["raw_path"].decode(), "query": scope["query_string"].decode(),
            "headers": headers, "sha256": digest.hexdigest(), "size": size,
        }  # fmt: skip
        sent = [
            (b"content-type", b"application/json"),
            (b"x-thing", b"a"),
            (b"x-thing", b"b"),
            (b"keep-alive", b"timeout=9"),
        ]
        await send({"type": "http.response.start", "status": 201, "headers": sent})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    async def at_slow(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.release.wait()
        await send({"type": "http.response.body", "body": b"second"})

    async def at_endless(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()

        watching = asyncio.create_task(watch())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not self.gone.is_set():
            await send({"type": "http.response.body", "body": b"x" * 1024, "more_body": True})
            await asyncio.sleep(0.01)
        await watching

    async def at_silent(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.release.wait()

    async def at_broken(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise ConnectionResetError

    async def at_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(
            {"type": "websocket.accept", "subprotocol": scope["subprotocols"][0] if scope["subprotocols"] else None}
        )
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.closed_with.append(message["code"])
                return
            if message.get("text") == "close":
                await send({"type": "websocket.close", "code": 4003, "reason": "denied"})
                return
            kind = "bytes" if message.get("bytes") is not None else "text"
            await send({"type": "websocket.send", kind: message[kind]})

    async def at_refused(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4001})


@dataclass(frozen=True)
class Chain:
    """A client's view: door -> proxy -> service."""

    url: str
    service: Service
    http: httpx2.AsyncClient


@asynccontextmanager
async def proxied(base_url: str, **options: Any) -> AsyncIterator[str]:
    """Serve a proxy to the URL."""
    proxy = ProxyUpstream(base_url, client_address=lambda scope: scope["client"][0], **options)
    try:
        async with served(proxy) as url:
            yield url
    finally:
        await proxy.aclose()


@pytest_asyncio.fixture
async def chain() -> AsyncIterator[Chain]:
    """Yield a served proxy before a served service."""
    service = Service()
    app: ASGIApp = service
    async with served(app) as behind, proxied(behind, read_s=2) as url, httpx2.AsyncClient(base_url=url) as http:
        yield Chain(url, service, http)
        service.release.set()


async def test_method_path_query_body_status_and_repeated_headers_pass(chain: Chain) -> None:
    reply = await chain.http.request("PATCH", "/dicomweb/a%2Fb/echo?q=%E4%B8%AD&q=2", content=b"body")
    told = reply.json()
    assert reply.status_code == 201
    assert (told["method"], told["path"], told["query"]) == ("PATCH", "/dicomweb/a%2Fb/echo", "q=%E4%B8%AD&q=2")
    assert told["size"] == 4
    assert reply.headers.get_list("x-thing") == ["a", "b"]


async def test_forwarding_headers_are_set_and_a_clients_own_are_dropped(chain: Chain) -> None:
    sent = {
        "X-Forwarded-For": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
        "X-Request-ID": "forged",
        "Connection": "x-secret",
        "X-Secret": "s",
    }
    headers = (await chain.http.get("/echo", headers=sent)).json()["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-host"] == chain.url.removeprefix("http://")
    assert len(headers["x-request-id"]) == 26
    assert "forwarded" not in headers
    assert "x-secret" not in headers


async def test_hop_by_hop_headers_of_the_answer_stop_at_the_proxy(chain: Chain) -> None:
    assert "keep-alive" not in (await chain.http.get("/echo")).headers


async def test_a_get_stays_without_a_body_and_without_invented_headers(chain: Chain) -> None:
    told = (await chain.http.get("/echo")).json()
    assert told["size"] == 0
    assert "transfer-encoding" not in told["headers"]
    assert "content-length" not in told["headers"]


@pytest.mark.parametrize("declared", [True, False])
async def test_a_large_body_is_streamed_and_not_collected(chain: Chain, declared: bool) -> None:
    piece, count = b"d" * 65536, 128
    headers = {"Content-Length": str(len(piece) * count)} if declared else {}

    async def body() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield piece

    told = (await chain.http.post("/echo", content=body(), headers=headers)).json()
    assert told["sha256"] == hashlib.sha256(piece * count).hexdigest()
    assert max(chain.service.chunks) < 1 << 20, "the service saw chunks, not one buffer"
    assert ("content-length" in told["headers"]) is declared


async def test_the_answers_first_part_arrives_before_its_last_is_made(chain: Chain) -> None:
    async with chain.http.stream("GET", "/slow") as reply:
        parts = reply.aiter_raw()
        assert await anext(parts) == b"first"
        chain.service.release.set()
        assert await anext(parts) == b"second"


async def test_when_the_client_hangs_up_the_service_learns_it(chain: Chain) -> None:
    async with chain.http.stream("GET", "/endless") as reply:
        await anext(reply.aiter_raw())
    async with asyncio.timeout(10):
        await chain.service.gone.wait()


async def test_a_service_that_is_down_is_a_503_problem() -> None:
    async with proxied("http://127.0.0.1:9") as url, httpx2.AsyncClient(base_url=url) as http:
        reply = await http.get("/echo")
    assert (reply.status_code, reply.json()["code"]) == (503, "service-unavailable")
    assert reply.headers["retry-after"] == "1"


async def test_a_service_that_stays_silent_is_a_504_problem() -> None:
    service = Service()
    async with served(service) as behind, proxied(behind, read_s=0.2) as url, httpx2.AsyncClient(base_url=url) as http:
        reply = await http.get("/silent")
        service.release.set()
    assert (reply.status_code, reply.json()["mend"]) == (504, "retry")


async def test_an_answer_that_breaks_off_is_never_taken_for_whole(chain: Chain) -> None:
    with pytest.raises(httpx2.HTTPError):
        await chain.http.get("/broken")


async def test_a_websocket_carries_text_bytes_subprotocol_and_headers(chain: Chain) -> None:
    url = chain.url.replace("http", "ws") + "/api/v1/rooms/demo/socket?x=1"
    async with connect(url, subprotocols=[Subprotocol("consilium.room.v1")]) as socket:
        assert socket.subprotocol == "consilium.room.v1"
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await socket.send(b"\x00\x01")
        assert await socket.recv() == b"\x00\x01"
    seen = chain.service.seen[-1]
    assert seen["query_string"] == b"x=1"
    assert dict(seen["headers"])[b"x-forwarded-for"] == b"127.0.0.1"


async def test_close_codes_cross_the_proxy_both_ways(chain: Chain) -> None:
    url = chain.url.replace("http", "ws") + "/socket"
    async with connect(url) as socket:
        await socket.send("close")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (4003, "denied")
    async with connect(url) as socket:
        await socket.close(4002, "bye")
    async with asyncio.timeout(10):
        while not chain.service.closed_with:
            await asyncio.sleep(0.01)
    assert chain.service.closed_with == [4002]


async def test_a_socket_that_the_service_refuses_is_refused_at_the_door(chain: Chain) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(chain.url.replace("http", "ws") + "/refused"):
            pass
