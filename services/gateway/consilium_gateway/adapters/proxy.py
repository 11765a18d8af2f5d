"""A service of another process as an ASGI app: streaming reverse proxy over HTTP and WebSocket.

Bodies stream both ways in the server's own chunks with its flow control; nothing is retried, because a request may have had its
effect. Hop-by-hop headers (RFC 9110 7.6.1) stop here; forwarding headers are set, never appended to what a client sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import httpx2
import structlog
from starlette.types import Message, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from consilium_core.ids import new_ulid
from consilium_gateway.errors import UpstreamUnavailable
from consilium_platform.http.problems import problem_response

log = structlog.get_logger()
_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
     b"transfer-encoding", b"upgrade", b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host",
     b"x-request-id", b"forwarded")
)  # fmt: skip
_SOCKET_OWN = (b"sec-websocket-", b"content-length")
MAX_SOCKET_MESSAGE = 1 << 20
Header = tuple[bytes, bytes]


class ProxyUpstream:
    """Forwards to ``base_url``; open and close it with the app that routes to it."""

    def __init__(
        self, base_url: str, *, client_address: Callable[[Scope], str], max_connections: int = 512, read_s: float = 75
    ) -> None:
        self._base = base_url.rstrip("/")
        self._address = client_address
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(connect=3, read=read_s, write=30, pool=5), trust_env=False, follow_redirects=False,
            limits=httpx2.Limits(max_connections=max_connections, max_keepalive_connections=64, keepalive_expiry=30),
        )  # fmt: skip

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    def _forwarded(self, scope: Scope) -> list[Header]:
        reference = str(scope.get("consilium.reference") or new_ulid())
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        named = {
            value.strip().lower()
            for name, value in scope["headers"]
            if name == b"connection"
            for value in value.split(b",")
        }
        kept = [(name, value) for name, value in scope["headers"] if name not in _HOP and name not in named]
        return [
            *kept,
            (b"x-request-id", reference.encode()),
            (b"x-forwarded-for", self._address(scope).encode("latin-1")),
            (b"x-forwarded-proto", {"ws": b"http", "wss": b"https"}.get(scope["scheme"], scope["scheme"].encode())),
            (b"x-forwarded-host", host),
        ]

    def _target(self, scope: Scope) -> str:
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        return f"{self._base}{path}{'?' + query if query else ''}"

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope["headers"]}
        has_body = b"content-length" in names or b"transfer-encoding" in names
        body = _Body(receive)
        request = self._client.build_request(
            scope["method"], self._target(scope), headers=self._forwarded(scope), content=body if has_body else None
        )
        for own in (
            "accept",
            "accept-encoding",
            "user-agent",
            "connection",
        ):  # the client's defaults are not the caller's
            if own.encode() not in names and own in request.headers:
                del request.headers[own]
        started = False
        try:
            response = await self._client.send(request, stream=True)
            try:
                headers = [(n.lower(), v) for n, v in response.headers.raw if n.lower() not in _HOP - {b"x-request-id"}]
                await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
                started = True
                await self._answer(response, body, has_body, receive, send)
            finally:
                await response.aclose()
        except _HungUp:
            return
        except httpx2.HTTPError as problem:
            log.warning("upstream_failed", upstream=self._base, error=type(problem).__name__)
            if started:  # the answer is cut: the server closes the connection, so that nobody takes it for whole
                raise UpstreamUnavailable("The service broke off its answer.") from problem
            slow = isinstance(problem, httpx2.ReadTimeout)
            detail = "The service takes too long to answer." if slow else "The service does not answer."
            refused = problem_response(
                504 if slow else 503, UpstreamUnavailable.code, detail, mend="retry",
                reference=str(scope.get("consilium.reference", "")), facts={"retry_after_s": 1.0},
            )  # fmt: skip
            await refused(scope, receive, send)

    async def _answer(
        self, response: httpx2.Response, body: _Body, has_body: bool, receive: Receive, send: Send
    ) -> None:
        """Send the answer on; stop reading from the service as soon as the client has hung up."""
        watch = not has_body or body.done
        gone = asyncio.create_task(_hung_up(receive), name="proxy-hang-up") if watch else None
        try:
            async for chunk in response.aiter_raw():
                if gone is not None and gone.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if gone is not None:
                gone.cancel()

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        if first["type"] != "websocket.connect":
            return
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._forwarded(scope)
            if not name.startswith(_SOCKET_OWN)
        ]
        url = "ws" + self._target(scope).removeprefix("http")
        try:
            async with connect(
                url, additional_headers=headers, subprotocols=[Subprotocol(s) for s in scope["subprotocols"]] or None,
                max_size=MAX_SOCKET_MESSAGE, open_timeout=5, close_timeout=2, ping_interval=20, ping_timeout=20,
                proxy=None, compression=None, user_agent_header=None, max_queue=16,
            ) as upstream:  # fmt: skip
                await send({"type": "websocket.accept", "subprotocol": upstream.subprotocol, "headers": []})
                await _pump(upstream, receive, send)
        except (OSError, TimeoutError, InvalidHandshake) as problem:
            log.warning("upstream_socket_failed", upstream=self._base, error=type(problem).__name__)
            await send({"type": "websocket.close", "code": 1013, "reason": "service-unavailable"})


class _HungUp(Exception):
    """The client went away while its request was being forwarded."""


class _Body:
    """The request's body as the client sends it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.done = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _HungUp
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                self.done = True
                return


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _pump(upstream: ClientConnection, receive: Receive, send: Send) -> None:
    """Carry messages both ways until one side closes; its close code goes to the other."""

    async def inwards() -> None:
        while True:
            message: Message = await receive()
            if message["type"] == "websocket.disconnect":
                await upstream.close(_sendable(message.get("code")), str(message.get("reason") or "")[:120])
                return
            data: Any = message.get("bytes") if message.get("bytes") is not None else message.get("text")
            await upstream.send(data)

    async def outwards() -> None:
        with suppress(ConnectionClosed):
            while True:
                data = await upstream.recv()
                kind = "text" if isinstance(data, str) else "bytes"
                await send({"type": "websocket.send", kind: data})

    tasks = [
        asyncio.create_task(inwards(), name="socket-inwards"),
        asyncio.create_task(outwards(), name="socket-outwards"),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for problem in ended:
        if isinstance(problem, Exception) and not isinstance(problem, ConnectionClosed):
            log.warning("socket_pump_failed", error=type(problem).__name__)
    if not (isinstance(ended[0], type(None)) and tasks[0].done() and not tasks[0].cancelled()):
        code = _sendable(upstream.close_code)
        await send({"type": "websocket.close", "code": code, "reason": upstream.close_reason or ""})


def _sendable(code: int | None) -> int:
    """Return a close code that may stand on the wire (RFC 6455 7.4.1): 1005 and 1006 may not."""
    return (
        code
        if code is not None and (code in (1000, 1001, 1003) or 1007 <= code <= 1014 or 3000 <= code < 5000)
        else 1000
    )
