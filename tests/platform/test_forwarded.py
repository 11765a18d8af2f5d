"""Whom a service behind the gateway takes for its caller."""

from __future__ import annotations

from typing import Any

import pytest

from consilium_platform.http.forwarded import BehindGateway


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        (b"198.51.100.9", "198.51.100.9"), (b"", "10.0.0.5"), (None, "10.0.0.5"),
        (b"198.51.100.9, 10.1.1.1", "10.0.0.5"),  # the gateway never writes a list
    ],
)  # fmt: skip
async def test_the_caller_is_the_client_that_the_gateway_names(forwarded: bytes | None, seen: str) -> None:
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["client"][0])

    async def never(*_: Any) -> Any:
        raise AssertionError

    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded)]
    await BehindGateway(app)({"type": "http", "headers": headers, "client": ("10.0.0.5", 4711)}, never, never)
    assert found == [seen]
