"""The app factory that every service uses: problems, request references, metrics, health, security headers.

``/healthz`` is local only; ``/readyz`` names each dependency; ``/metrics`` is Prometheus text of the process.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping

import structlog
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consilium_core.ids import new_ulid
from consilium_platform.http.problems import install_problems
from consilium_platform.http.refusals import Refusals
from consilium_platform.platform import Ping, Platform

log = structlog.get_logger()
REQUESTS = Counter("consilium_http_requests_total", "Requests answered.", ["service", "method", "status"])
DURATION = Histogram(
    "consilium_http_request_seconds",
    "Time to the last byte of the answer.",
    ["service", "method"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
_REFERENCE = re.compile(r"^[A-Za-z0-9-]{8,64}$")


class _Edge:
    """Gives each request a reference id, counts it, and adds the headers that every answer carries."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"x-request-id"), "")
        reference = given if _REFERENCE.match(given) else new_ulid()
        scope["consilium.reference"] = reference
        started = time.perf_counter()
        status = 500

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                present = {key.lower() for key, _ in headers}
                for key, value in (
                    (b"x-request-id", reference.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ):
                    if key not in present:
                        headers.append((key, value))
            await send(message)

        try:
            await self._app(scope, receive, answered)
        finally:
            REQUESTS.labels(self._service, scope["method"], str(status)).inc()
            DURATION.labels(self._service, scope["method"]).observe(time.perf_counter() - started)


async def readiness(dependencies: Mapping[str, Ping]) -> dict[str, str]:
    """Ask every dependency at once (3 s at most each); return ``ok`` or the reason by name."""

    async def ask(ping: Ping) -> str:
        try:
            async with asyncio.timeout(3):
                await ping()
        except Exception as problem:
            return str(problem) or type(problem).__name__
        return "ok"

    answers = await asyncio.gather(*(ask(ping) for ping in dependencies.values()))
    return dict(zip(dependencies, answers, strict=True))


def create_app(service: str, platform: Platform, dependencies: Mapping[str, Ping] | None = None) -> FastAPI:
    """Return an app with problems, health, metrics and the state that ``http.auth`` reads."""
    app = FastAPI(title=f"consilium {service}", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.verifier = platform.verifier
    app.state.audit = platform.audit
    app.state.revoked = platform.revoked
    app.state.refusals = Refusals(platform.audit, platform.clock)
    app.state.platform = platform
    install_problems(app)
    app.add_middleware(_Edge, service=service)
    wanted = {**platform.dependencies, **(dependencies or {})}

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "service": service}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        answers = await readiness(wanted)
        ready = all(answer == "ok" for answer in answers.values())
        body = {"status": "ready" if ready else "not ready", "service": service, "dependencies": answers}
        return JSONResponse(body, 200 if ready else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return app
