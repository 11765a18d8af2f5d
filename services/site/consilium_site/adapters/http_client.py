"""One HTTP client for everything outbound: bearer tokens for our origin only, errors of our tree, never a listener.

httpx2 with the proxy environment and the hospital's CA bundle. ``TokenKeeper`` owns the access token: it renews it before it ends
and once more after a 401 (SP-02, SP-12).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from consilium_core.clock import Clock
from consilium_core.site_protocol import TokenReply, TokenRequest
from consilium_site import __version__
from consilium_site.domain.identity import Identity
from consilium_site.errors import ForeignOrigin, IdentityRefused, ServerRefused, ServerUnavailable

_M = TypeVar("_M", bound=BaseModel)
_RENEW_AT_SHARE = 0.2
_RENEW_AT_LEAST_S = 10.0
_CUT = (httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.ReadTimeout)


def make_client(
    server_url: str, *, ca_bundle: Path | None, use_proxy_env: bool, timeout_s: float
) -> httpx2.AsyncClient:
    """Return the client; the caller closes it."""
    verify: ssl.SSLContext | bool = True
    if ca_bundle is not None:
        verify = ssl.create_default_context(cafile=str(ca_bundle))
    return httpx2.AsyncClient(
        base_url=server_url,
        verify=verify,
        trust_env=use_proxy_env,
        timeout=httpx2.Timeout(timeout_s),
        limits=httpx2.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=30.0),
        follow_redirects=False,
        headers={"user-agent": f"consilium-site/{__version__}"},
    )


def is_loopback(url: str) -> bool:
    """Say whether the server is on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds of ``Retry-After`` (RFC 9110 10.2.3); 0 when absent or a date."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0


def problem_detail(response: httpx2.Response) -> str:
    """Return the ``detail`` of a problem+json answer, or the status in words."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("detail") or body.get("title"), str):
        return str(body.get("detail") or body["title"])
    return f"The server answered {response.status_code}."


def reply(model: type[_M], response: httpx2.Response) -> _M:
    """Parse a reply's body; an unreadable one counts as an unavailable server."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise ServerUnavailable("The server's answer cannot be understood.", message=model.__name__) from error


class Http:
    """Requests to one origin, with errors mapped."""

    def __init__(self, client: httpx2.AsyncClient, server_url: str) -> None:
        self._client = client
        self._base = server_url.rstrip("/") + "/"
        self.tokens: TokenKeeper | None = None

    def resolve(self, url: str, against: str = "") -> str:
        """Return ``url`` as absolute; raises ForeignOrigin when it leaves our server (SP-03)."""
        absolute = urljoin(urljoin(self._base, against), url)
        ours, theirs = urlsplit(self._base), urlsplit(absolute)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise ForeignOrigin("The address is not on the consilium server.")
        return absolute

    async def send(
        self,
        method: str,
        url: str,
        *,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        read_timeout_s: float | None = None,
        authorized: bool = True,
    ) -> httpx2.Response:
        """Send one request; 401 fetches a new token once. Raises ServerUnavailable when there is no answer or 5xx/408/429."""
        address = self.resolve(url)
        for attempt in (1, 2):
            sent, token = dict(headers or {}), ""
            if authorized and self.tokens is not None:
                token = await self.tokens.access_token()
                sent["authorization"] = f"Bearer {token}"
            response = await self._once(method, address, content, sent, params, read_timeout_s)
            if response.status_code == 401 and authorized and self.tokens is not None and attempt == 1:
                self.tokens.invalidate(token)
                continue
            break
        if response.status_code >= 500 or response.status_code in (408, 425, 429):
            raise ServerUnavailable(
                problem_detail(response),
                retry_after_s=retry_after_s(response.headers),
                cut=response.status_code in (502, 504),
                status=response.status_code,
            )
        return response

    async def _once(
        self,
        method: str,
        url: str,
        content: bytes | str | None,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        read_timeout_s: float | None,
    ) -> httpx2.Response:
        timeout: Any = httpx2.USE_CLIENT_DEFAULT
        if read_timeout_s is not None:
            timeout = httpx2.Timeout(self._client.timeout.connect, read=read_timeout_s, write=read_timeout_s)
        try:
            return await self._client.request(
                method, url, content=content, headers=headers, params=params, timeout=timeout
            )
        except _CUT as error:
            raise ServerUnavailable("The connection to the server was cut.", cut=True) from error
        except httpx2.TransportError as error:
            raise ServerUnavailable("The server does not answer.", cause=type(error).__name__) from error

    async def post(self, url: str, message: BaseModel, *, authorized: bool = True) -> httpx2.Response:
        """POST a message as JSON."""
        return await self.send(
            "POST",
            url,
            content=message.model_dump_json(),
            headers={"content-type": "application/json"},
            authorized=authorized,
        )


def refuse(response: httpx2.Response) -> ServerRefused:
    """Return the error for an answer that the caller has no better word for."""
    return ServerRefused(problem_detail(response), status=response.status_code)


class TokenKeeper:
    """Holds the access token and trades the refresh secret for a new one in time."""

    def __init__(self, http: Http, identity: Identity, clock: Clock, on_refused: Callable[[], None]) -> None:
        self._http = http
        self._identity = identity
        self._clock = clock
        self._on_refused = on_refused
        self._token = ""
        self._good_until_s = 0.0
        self._lock = asyncio.Lock()

    def adopt(self, token: str, expires_in_s: float) -> None:
        """Use a token that came with the enrolment."""
        self._token = token
        spare_s = max(_RENEW_AT_LEAST_S, expires_in_s * _RENEW_AT_SHARE)
        self._good_until_s = self._clock.monotonic() + max(1.0, expires_in_s - spare_s)

    def good_for_s(self) -> float:
        """Return how long the present token is used before the next one is fetched, seconds."""
        return max(0.0, self._good_until_s - self._clock.monotonic())

    def invalidate(self, token: str) -> None:
        """The server did not accept ``token``: fetch another, unless that has happened meanwhile."""
        if token == self._token:
            self._good_until_s = 0.0

    async def access_token(self) -> str:
        """Return a token that is good for now; raises IdentityRefused when the site was revoked."""
        async with self._lock:
            if self._clock.monotonic() < self._good_until_s:
                return self._token
            request = TokenRequest(site_id=self._identity.site_id, refresh_secret=self._identity.refresh_secret)
            response = await self._http.post("/site/v1/token", request, authorized=False)
            if response.status_code in (401, 403, 404):
                self._on_refused()
                raise IdentityRefused(
                    "The server no longer accepts this site's identity; an administrator can enrol it again."
                )
            if response.status_code != 200:
                raise refuse(response)
            got = reply(TokenReply, response)
            self.adopt(got.access_token, got.expires_in_s)
            return self._token
