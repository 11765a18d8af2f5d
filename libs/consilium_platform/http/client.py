"""Calls between services: over HTTP on a cluster, straight into the other ASGI app in the embedded world.

Each call carries a one-minute service token, a timeout and the tenant it acts for; problem documents come back as errors of our tree.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.types import ASGIApp

from consilium_core.errors import (
    Conflict,
    ConsiliumError,
    Denied,
    Exhausted,
    Gone,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from consilium_core.roles import Role
from consilium_platform.tokens import Claims, TokenSigner

_BRANCH: dict[int, type[ConsiliumError]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Denied,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: Exhausted,
}


class ServiceUnavailable(Unavailable):
    """The other service does not answer."""

    code = "service-unavailable"


class ServiceDirectory:
    """Where the other services are, and how to call them."""

    def __init__(self, urls: dict[str, str], signer: TokenSigner | None) -> None:
        self._urls = urls
        self.signer = signer
        self._clients: dict[str, httpx2.AsyncClient] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, urls: dict[str, str], signer: TokenSigner | None) -> AsyncIterator[ServiceDirectory]:
        """Yield a directory; its connections are closed at the end."""
        directory = cls(urls, signer)
        try:
            yield directory
        finally:
            for client in directory._clients.values():
                await client.aclose()

    def register(self, name: str, app: ASGIApp) -> None:
        """Put a service of this process into the directory."""
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        self._clients[name] = httpx2.AsyncClient(transport=transport, base_url=f"http://{name}.internal")

    def url(self, name: str) -> str | None:
        """Return the configured base URL of a service, None when it lives in this process."""
        return self._urls.get(name)

    def _client(self, name: str) -> httpx2.AsyncClient:
        client = self._clients.get(name)
        if client is None:
            url = self._urls.get(name)
            if url is None:
                raise ServiceUnavailable(f"The service {name} is not configured.", service=name)
            client = self._clients[name] = httpx2.AsyncClient(base_url=url, trust_env=False)
        return client

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        tenant: str,
        caller: str,
        json: Any = None,
        timeout_s: float = 10.0,
    ) -> Any:
        """Call ``service`` and return its JSON (None for 204); raise the matching error of our tree."""
        headers = {"accept": "application/json"}
        if self.signer is not None:
            claims = Claims("service", f"service:{caller}", tenant, Role.SERVICE, caller)
            headers["authorization"] = f"Bearer {self.signer.sign(claims, 60)}"
        try:
            response = await self._client(service).request(method, path, json=json, headers=headers, timeout=timeout_s)
        except httpx2.HTTPError as problem:
            raise ServiceUnavailable(f"The service {service} does not answer.", service=service) from problem
        if response.status_code < 300:
            return response.json() if response.content else None
        raise _error(service, response)


def _error(service: str, response: httpx2.Response) -> ConsiliumError:
    try:
        body = response.json()
    except ValueError:
        body = {}
    branch = _BRANCH.get(response.status_code, ServiceUnavailable)
    facts: dict[str, Any] = {"service": service}
    if branch is Exhausted and isinstance(body.get("retry_after_s"), int | float):
        facts["retry_after_s"] = body["retry_after_s"]
    error = branch(str(body.get("detail") or f"The service {service} answered {response.status_code}."), **facts)
    if isinstance(body.get("code"), str):
        error.code = body["code"]  # type: ignore[misc]  # the other side's own code is the more exact one
    return error
