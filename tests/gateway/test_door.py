"""The route table and the dispatcher in front of everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from consilium_core.clock import FakeClock
from consilium_core.roles import Role
from consilium_gateway.api.parts import address_of, scheme_of
from consilium_gateway.domain.limits import TryLimit
from consilium_gateway.domain.routes import target_of
from consilium_gateway.errors import TooManyTries
from consilium_gateway.settings import GatewaySettings
from consilium_platform.http.app import create_app
from consilium_platform.platform import Platform
from consilium_testkit.servers import free_port

from .conftest import Opened, opened
from .serving import served


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("POST", "/site/v1/uploads", "ingest"),
        ("PATCH", "/site/v1/uploads/abc", "ingest"),
        ("POST", "/site/v1/uploadsx", "gateway"),
        ("GET", "/site/v1/commands", "gateway"),
        ("POST", "/dicomweb/studies", "ingest"),
        ("POST", "/dicomweb/studies/1.2", "ingest"),
        ("POST", "/dicomweb/commitment-requests/1.2", "ingest"),
        ("GET", "/dicomweb/commitment-requests/1.2", "ingest"),
        ("GET", "/dicomweb/commitment-requestsx", "imaging"),
        ("GET", "/dicomweb/studies", "imaging"),
        ("HEAD", "/dicomweb/studies/1.2/series", "imaging"),
        ("GET", "/wado", "imaging"),
        ("POST", "/whip/demo", "live"),
        ("DELETE", "/whep/demo/x", "live"),
        ("GET", "/api/v1/rooms/demo/ws", "live"),
        ("GET", "/api/v1/roomsx", "gateway"),
        ("GET", "/api/v1/patients", "consult"),
        ("POST", "/api/v1/consultations/1/start", "consult"),
        ("GET", "/api/v1/reports/1/pdf", "consult"),
        ("GET", "/api/v1/ingest/uploads/1", "ingest"),
        ("GET", "/api/v1/imaging/worklist", "imaging"),
        ("GET", "/api/v1/session", "gateway"),
        ("GET", "/api/openapi.json", "gateway"),
        ("GET", "/healthz", "gateway"),
        ("GET", "/", "web"),
        ("GET", "/rooms/demo", "web"),
        ("GET", "/whipped", "web"),
        ("GET", "/internal/v1/sites", "nobody"),
        ("GET", "/internal", "nobody"),
        ("GET", "/fhir/metadata", "nobody"),
        ("GET", "/dicomweb/../internal/v1/sites", "nobody"),
        ("GET", "//internal/v1/sites", "nobody"),
        ("GET", "/dicomweb/./x", "nobody"),
        ("GET", "/a\\b", "nobody"),
        ("GET", "/a\x00b", "nobody"),
        ("GET", "", "nobody"),
    ],
)
def test_each_path_has_one_owner(method: str, path: str, target: str) -> None:
    assert target_of(method, path) == target


class Recorder:
    """A service that remembers the scopes it was handed and reads whole bodies."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.receives: list[Receive] = []
        self.size = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.receives.append(receive)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            self.size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"recorded"})


async def test_scopes_and_bodies_reach_a_service_of_this_process_untouched(platform: Platform) -> None:
    recorder = Recorder()
    async with opened(platform, upstreams={"ingest": recorder}) as gateway:
        door = gateway.app.state.door
        scope: Scope = {
            "type": "http", "method": "POST", "path": "/dicomweb/studies", "headers": [(b"content-length", b"3")],
            "client": ("10.0.0.1", 1), "query_string": b"",
        }  # fmt: skip

        async def receive() -> Any:
            return {"type": "http.request", "body": b"abc"}

        async def send(message: Any) -> None:
            del message

        await door(scope, receive, send)
        assert recorder.scopes[0] is scope
        assert recorder.receives[0] is receive


async def test_bodies_that_are_too_large_are_refused_before_or_while_they_arrive(platform: Platform) -> None:
    consult, ingest = Recorder(), Recorder()
    upstreams = {"consult": consult, "ingest": ingest}
    async with opened(platform, upstreams=upstreams, max_json_bytes=1024, max_upload_bytes=1 << 20) as gateway:

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(4):
                yield b"x" * 512

        declared = await gateway.http.post("/api/v1/patients", content=b"x" * 2048)
        assert (declared.status_code, declared.json()["code"]) == (413, "too-large")
        chunked = await gateway.http.post("/api/v1/patients", content=chunks())
        assert (chunked.status_code, chunked.json()["limit_bytes"]) == (413, 1024)
        assert consult.size <= 1024
        assert (await gateway.http.post("/dicomweb/studies", content=b"x" * 2048)).text == "recorded"
        assert (await gateway.http.post("/dicomweb/studies", content=b"x" * (1 << 20) + b"y")).status_code == 413
        own = await gateway.http.post("/api/v1/session", content=chunks(), headers={"content-type": "application/json"})
        assert own.status_code == 413


async def test_inner_addresses_are_not_there_from_outside_even_with_a_services_token(gateway: Opened) -> None:
    for path in (
        "/internal/v1/sites",
        "/internal/v1/sites/commands/x",
        "http://door.test//internal/v1/sites",
        "/api/../internal/v1/sites",
    ):
        reply = await gateway.http.get(path, headers=gateway.as_(Role.SERVICE))
        assert reply.status_code == 404, path


async def test_a_service_that_is_not_configured_is_a_503_problem_and_an_unknown_api_path_a_404_one(
    gateway: Opened,
) -> None:
    missing = await gateway.http.get("/api/v1/rooms")
    assert (missing.status_code, missing.json()["code"]) == (503, "service-unavailable")
    unknown = await gateway.http.get("/api/v1/nothing")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
    assert (await gateway.http.put("/api/v1/session")).status_code == 405


async def test_the_door_reports_the_readiness_of_every_service_of_this_process(platform: Platform) -> None:
    async def broken() -> None:
        raise ConnectionError("no codec")

    upstreams = {"live": create_app("live", platform), "imaging": create_app("imaging", platform, {"codec": broken})}
    async with opened(platform, upstreams=upstreams) as gateway:
        reply = await gateway.http.get("/readyz")
        assert reply.status_code == 503
        answers = reply.json()["dependencies"]
        assert answers["live"] == answers["database"] == "ok"
        assert answers["imaging"] == "not ready (codec: no codec)"
        assert (await gateway.http.get("/healthz")).json() == {"status": "ok", "service": "gateway"}
        assert "consilium_gateway_polls_waiting" in (await gateway.http.get("/metrics")).text


async def test_on_a_cluster_the_door_forwards_and_the_inner_port_answers_services(platform: Platform) -> None:
    recorder, port = Recorder(), free_port()
    async with served(recorder) as behind:
        platform.services._urls["imaging"] = behind
        async with opened(platform, internal_host="127.0.0.1", internal_port=port) as gateway:
            reply = await gateway.http.get("/dicomweb/studies?limit=1", headers=gateway.as_(Role.SPECIALIST))
            assert reply.text == "recorded"
            assert recorder.scopes[0]["query_string"] == b"limit=1"
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as inside:
                assert (await inside.get("/internal/v1/sites")).status_code == 401
                reply = await inside.get("/internal/v1/sites", headers=gateway.as_(Role.SERVICE))
                assert reply.json()["items"] == []


def scope_from(peer: str, *forwarded: str) -> Scope:
    """Return a scope with X-Forwarded-For lines."""
    return {"client": (peer, 1), "scheme": "http", "headers": [(b"x-forwarded-for", f.encode()) for f in forwarded]}


def test_forwarded_addresses_are_believed_only_from_as_many_proxies_as_are_trusted() -> None:
    forged = scope_from("10.0.0.9", "6.6.6.6, 7.7.7.7", "192.0.2.1")
    assert address_of(forged, 0) == "10.0.0.9"
    assert address_of(forged, 1) == "192.0.2.1"
    assert address_of(forged, 2) == "7.7.7.7"
    assert address_of(scope_from("10.0.0.9"), 1) == "10.0.0.9"
    https: Scope = {"scheme": "http", "headers": [(b"x-forwarded-proto", b"https")]}
    assert (scheme_of(https, 0), scheme_of(https, 1)) == ("http", "https")


def test_a_limit_counts_per_key_and_window_forgives_and_forgets_the_oldest_keys() -> None:
    clock = FakeClock()
    limit = TryLimit(clock, 2, 60, remember=2)
    limit.take("a")
    clock.advance(30)
    limit.take("a")
    with pytest.raises(TooManyTries) as refusal:
        limit.take("a")
    assert refusal.value.retry_after_s == 30
    limit.forgive("a")
    limit.take("a")
    clock.advance(31)
    limit.take("a")
    for key in ("b", "c"):
        limit.take(key)
    assert set(limit._taken) == {"b", "c"}


def test_the_readme_lists_every_setting(repo: Path) -> None:
    text = (repo / "services" / "gateway" / "README.md").read_text()
    for name, field in GatewaySettings.model_fields.items():
        assert f"`CONSILIUM_GATEWAY_{name.upper()}`" in text
        assert str(field.description) in text, name
