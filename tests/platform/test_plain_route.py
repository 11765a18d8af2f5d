"""A plain route gives its endpoint the request, its path and the caller, and takes no endpoint that wants more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, Request, Response

from consilium_core.roles import Permission, Principal, Role
from consilium_platform.http.app import create_app
from consilium_platform.http.auth import require
from consilium_platform.http.plain_route import PlainRoute, serve
from consilium_platform.platform import Platform
from consilium_testkit.platforms import bearer
from consilium_testkit.routes import endpoints

reader = require(Permission.STUDY_READ)


async def with_query(request: Request, limit: str = "", principal: Principal = Depends(reader)) -> Response:
    return Response(limit)


async def with_number(number: int, principal: Principal = Depends(reader)) -> Response:
    return Response(str(number))


async def with_another(principal: Principal = Depends(reader), more: str = Depends(lambda: "x")) -> Response:
    return Response(more)


async def for_anybody(request: Request) -> Response:
    return Response("")


async def with_something_else(more: str = Depends(lambda: "x")) -> Response:
    return Response(more)


@pytest.mark.parametrize("endpoint", [with_query, with_number, with_another, for_anybody, with_something_else])
def test_an_endpoint_that_wants_more_is_refused_when_it_is_declared(endpoint: Callable[..., Any]) -> None:
    router = APIRouter(route_class=PlainRoute)
    with pytest.raises(TypeError, match="plain route"):
        router.get("/things/{number}")(endpoint)


async def test_the_path_and_the_caller_are_given_and_the_permission_is_asked(platform: Platform) -> None:
    router = APIRouter(prefix="/things", route_class=PlainRoute)

    @router.get("/{first}/of/{second}")
    async def both(second: str, first: str, request: Request, who: Principal = Depends(reader)) -> Response:
        return Response(f"{first} {second} {request.url.query} {who.role.value}")

    app = create_app("things", platform)
    serve(app, router)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://things.test") as client:
        path, admin = "/things/a%20b/of/2?q=1", bearer(platform, Role.ADMIN)
        assert (await client.get(path, headers=admin)).text == "a b 2 q=1 admin"
        assert (await client.get(path)).status_code == 401
        assert (await client.get("/things/1/of", headers=admin)).status_code == 404
        assert (await client.post(path, headers=admin)).status_code == 405
    assert ("GET", "/things/{first}/of/{second}", {Permission.STUDY_READ}) in list(endpoints(app))
    assert "/things/{first}/of/{second}" in app.openapi()["paths"]
