"""The outermost ASGI app: looks at method and path and hands the connection on, before anybody's middleware.

An upload or a poll pays for one table look-up here and nothing else. What the door itself refuses (inner addresses, bodies that
are too large) it answers as a problem document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consilium_core.ids import new_ulid
from consilium_gateway.api.poll import PATH as POLL_PATH
from consilium_gateway.domain.routes import target_of
from consilium_platform.http.problems import problem_response

_REFERENCE = re.compile(rb"^[A-Za-z0-9-]{8,64}$")
_UPLOADS = ("ingest",)


class Door:
    """Routes http and websocket scopes to the gateway's own app, its web files, or an upstream."""

    def __init__(
        self,
        app: ASGIApp,
        poll: ASGIApp,
        web: ASGIApp,
        upstreams: Mapping[str, ASGIApp],
        *,
        client_address: Callable[[Scope], str],
        max_json_bytes: int,
        max_upload_bytes: int,
    ) -> None:
        self._app = app
        self._poll = poll
        self._address = client_address
        self._targets: dict[str, ASGIApp] = {**upstreams, "gateway": app, "web": web}
        self._max_json = max_json_bytes
        self._max_upload = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await _lifespan(receive, send)
            return
        if scope.get(
            "client"
        ):  # behind trusted proxies the peer is a proxy: whoever counts or logs callers means the client
            scope["client"] = (self._address(scope), scope["client"][1])
        path: str = scope["path"]
        method: str = scope["method"] if kind == "http" else "GET"
        if path == POLL_PATH and method == "GET" and kind == "http":
            await self._poll(scope, receive, send)
            return
        target = target_of(method, path)
        app = self._targets.get(target)
        if kind == "websocket":
            if app is None or target in ("web", "gateway"):
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": "not-found"})
                return
            await app(scope, receive, send)
            return
        if app is None:
            await _refuse(scope, receive, send, target)
            return
        if method in ("GET", "HEAD", "OPTIONS"):
            await app(scope, receive, send)
            return
        await self._bounded(app, scope, receive, send, self._max_upload if target in _UPLOADS else self._max_json)

    async def _bounded(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        length = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if length is not None:
            if not length.isdigit() or int(length) > limit:
                await _too_large(scope, receive, send, limit)
                return
            await app(scope, receive, send)  # the server lets no more through than was declared
            return
        if limit == self._max_upload:
            await app(scope, receive, send)  # chunked upload: ingest counts what it stores
            return
        await _Counted(limit).run(app, scope, receive, send)


class _Counted:
    """Counts a chunked body; past the limit the app sees a hang-up and the client a 413."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._limit = limit
        self._exceeded = False
        self._started = False

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted() -> Message:
            if self._exceeded:
                return {"type": "http.disconnect"}
            message = await receive()
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self._exceeded = True
                return {"type": "http.disconnect"}
            return message

        async def guarded(message: Message) -> None:
            if self._exceeded and not self._started:
                return
            self._started = True
            await send(message)

        await app(scope, counted, guarded)
        if self._exceeded and not self._started:
            await _too_large(scope, receive, send, self._limit)


async def _too_large(scope: Scope, receive: Receive, send: Send, limit: int) -> None:
    response = problem_response(
        413, "too-large", f"The body is larger than the {limit} bytes allowed here.", mend="caller",
        reference=_reference(scope), facts={"limit_bytes": limit},
    )  # fmt: skip
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send, target: str) -> None:
    if target == "nobody":
        response = problem_response(404, "not-found", "Not Found", mend="caller", reference=_reference(scope))
    else:
        response = problem_response(
            503, "service-unavailable", f"The service {target} is not configured behind this door.", mend="operator",
            reference=_reference(scope), facts={"retry_after_s": 5.0},
        )  # fmt: skip
    await response(scope, receive, send)


def _reference(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _REFERENCE.match(given) else new_ulid()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
