"""HTTP as every room speaks it: problem documents, references, health, calls between services."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request

from consilium_core.errors import (
    Conflict,
    ConsiliumError,
    Corrupt,
    Denied,
    Exhausted,
    Gone,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from consilium_core.roles import Role
from consilium_platform.http.app import create_app
from consilium_platform.http.client import ServiceUnavailable
from consilium_platform.platform import Platform

CASES: list[tuple[ConsiliumError, int]] = [
    (Invalid("x"), 400), (Unauthenticated("x"), 401), (Denied("x"), 403), (NotFound("x"), 404), (Conflict("x"), 409),
    (Gone("x"), 410), (Exhausted("x", retry_after_s=7), 429), (Unavailable("x"), 503), (Corrupt("x"), 500),
]  # fmt: skip


@pytest.fixture
def app(platform: Platform) -> FastAPI:
    """Return a service that fails as it is told, and echoes who calls."""
    made = create_app("other", platform)

    @made.get("/internal/v1/fail/{number}")
    async def fail(number: int) -> None:
        raise CASES[number][0]

    @made.get("/internal/v1/bug")
    async def bug() -> None:
        raise KeyError("canary-patient")

    @made.post("/internal/v1/who")
    async def who(request: Request) -> dict[str, Any]:
        principal = platform.verifier.verify(request.headers["authorization"].partition(" ")[2])
        return {"tenant": principal.tenant, "role": principal.role, "body": await request.json()}

    @made.delete("/internal/v1/nothing", status_code=204)
    async def nothing() -> None:
        return None

    platform.services.register("other", made)
    return made


def client(app: FastAPI) -> httpx2.AsyncClient:
    """Return a client of the app."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://other.test")


@pytest.mark.parametrize("number", range(len(CASES)))
async def test_every_branch_of_the_tree_has_its_status_and_comes_back_as_itself(
    app: FastAPI, platform: Platform, number: int
) -> None:
    error, status = CASES[number]
    async with client(app) as http:
        reply = await http.get(f"/internal/v1/fail/{number}")
    body = reply.json()
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert (body["code"], body["mend"], body["status"], body["detail"]) == (error.code, error.mend, status, "x")
    assert body["instance"] == f"urn:consilium:request:{reply.headers['x-request-id']}"
    with pytest.raises(ConsiliumError) as caught:
        await platform.services.call("other", "GET", f"/internal/v1/fail/{number}", tenant="demo", caller="test")
    expected = type(error) if status < 500 else ServiceUnavailable
    assert isinstance(caught.value, expected)
    assert caught.value.code == error.code
    if isinstance(caught.value, Exhausted):
        assert caught.value.retry_after_s == 7
        assert reply.headers["retry-after"] == "7"


async def test_facts_never_override_the_standard_members(platform: Platform) -> None:
    app = create_app("facts", platform)

    @app.get("/x")
    async def endpoint() -> None:
        raise Invalid("words", status=200, code="forged", limit=3, secret=object())

    async with client(app) as http:
        body = (await http.get("/x")).json()
    assert (body["status"], body["code"], body["limit"]) == (400, "invalid", 3)
    assert "secret" not in body


async def test_a_bug_tells_a_reference_and_nothing_else(app: FastAPI) -> None:
    async with client(app) as http:
        reply = await http.get("/internal/v1/bug")
    assert (reply.status_code, reply.json()["code"]) == (500, "internal-error")
    assert "canary-patient" not in reply.text


async def test_a_good_reference_is_kept_and_a_bad_one_replaced(app: FastAPI) -> None:
    async with client(app) as http:
        kept = await http.get("/healthz", headers={"x-request-id": "abc-12345678"})
        replaced = await http.get("/healthz", headers={"x-request-id": "<script>"})
    assert kept.headers["x-request-id"] == "abc-12345678"
    assert len(replaced.headers["x-request-id"]) == 26
    assert kept.headers["x-content-type-options"] == "nosniff"


async def test_readiness_names_what_is_broken_and_liveness_does_not_ask(platform: Platform) -> None:
    async def broken() -> None:
        raise ConnectionError("no route")

    async with client(create_app("sick", platform, {"pacs": broken})) as http:
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["dependencies"]["pacs"]) == (503, "no route")
        assert ready.json()["dependencies"]["database"] == "ok"
        assert (await http.get("/healthz")).status_code == 200


async def test_calls_between_services_carry_the_tenant_and_a_services_token(app: FastAPI, platform: Platform) -> None:
    call = platform.services.call
    told = await call("other", "POST", "/internal/v1/who", tenant="elsewhere", caller="test", json={"n": 1})
    assert told == {"tenant": "elsewhere", "role": Role.SERVICE, "body": {"n": 1}}
    assert await call("other", "DELETE", "/internal/v1/nothing", tenant="demo", caller="test") is None


async def test_a_service_that_is_not_there_is_unavailable(platform: Platform) -> None:
    with pytest.raises(ServiceUnavailable):
        await platform.services.call("nowhere", "GET", "/", tenant="demo", caller="test")
    platform.services._urls["away"] = "http://127.0.0.1:9"
    with pytest.raises(ServiceUnavailable):
        await platform.services.call("away", "GET", "/", tenant="demo", caller="test")
