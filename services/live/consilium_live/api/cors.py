"""CORS on WHIP and WHEP (RFC 9725 4.2): clients in browsers of other origins publish and view with their bearer token.

No cookie is ever looked at here, so that any origin may be allowed; every answer and every error says so, or a browser would
show its page nothing of them. Only these two addresses: the product's own client comes from the same origin.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PREFIXES = ("/whip/", "/whep/")
_METHODS = "POST, PATCH, DELETE, OPTIONS"
_REQUEST_HEADERS = "Authorization, Content-Type, If-Match"
_EXPOSED = "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After"
_MAX_AGE_S = "600"


class MediaCors:
    """Adds the headers to what the application answers; ``origins`` holds ``*`` for any."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIXES):
            await self._app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin", "")

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), origin, preflight=scope["method"] == "OPTIONS")
            await send(message)

        await self._app(scope, receive, answered)

    def _add(self, headers: MutableHeaders, origin: str, *, preflight: bool) -> None:
        if "*" in self._origins:
            headers["Access-Control-Allow-Origin"] = "*"
        else:
            headers.add_vary_header("Origin")
            if origin not in self._origins:
                return
            headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = _EXPOSED
        if preflight:
            headers["Access-Control-Allow-Methods"] = _METHODS
            headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
            headers["Access-Control-Max-Age"] = _MAX_AGE_S
