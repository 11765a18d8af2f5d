"""Behind the gateway the peer of every request is the gateway: who counts or names callers means the client it forwards for.

The gateway sets ``X-Forwarded-For`` to one address and never passes on what a client sent; only the gateway reaches a service
of a cluster (the chart's NetworkPolicies). What comes without the header is another service's own call.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class BehindGateway:
    """Writes the forwarded client's address into the scope."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            given = next((value for name, value in scope["headers"] if name == b"x-forwarded-for"), b"")
            address = given.decode("latin-1").strip()[:64]
            if address and "," not in address:
                scope["client"] = (address, (scope.get("client") or ("", 0))[1])
        await self._app(scope, receive, send)
