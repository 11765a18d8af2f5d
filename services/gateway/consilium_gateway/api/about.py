"""What a client may know before it signs in: ``/api/v1/info`` and the merged ``/api/openapi.json``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.types import ASGIApp

from consilium_core.errors import NotFound
from consilium_gateway.api.parts import DeskDep
from consilium_gateway.domain.openapi import media_paths, merge_openapi

router = APIRouter(tags=["about"])


class InfoReply(BaseModel):
    """Who answers, and what a browser needs for WebRTC."""

    name: str
    version: str
    languages: list[str]
    ice_servers: list[dict[str, Any]]


def product_version() -> str:
    """Return the installed distribution's version."""
    try:
        return installed("consilium")
    except PackageNotFoundError:
        return "0"


@router.get("/api/v1/info")
async def info(desk: DeskDep) -> InfoReply:
    """Say what this is; needs no sign-in."""
    return InfoReply(
        name="consilium", version=product_version(), languages=["zh-CN", "en"], ice_servers=desk.settings.ice_servers
    )


@router.get("/api/openapi.json", include_in_schema=False)
async def openapi(request: Request, desk: DeskDep) -> JSONResponse:
    """Return the whole product's OpenAPI document; it is made once."""
    state = request.app.state
    if state.openapi is None:
        if desk.settings.openapi_file is not None:
            state.openapi = await asyncio.to_thread(_read, desk.settings.openapi_file)
        else:
            state.openapi = merged_openapi({"gateway": request.app, **state.upstreams})
    return JSONResponse(state.openapi, headers={"Cache-Control": "no-cache"})


def merged_openapi(apps: Mapping[str, ASGIApp]) -> dict[str, Any]:
    """Merge the documents of those apps that are FastAPI's (``consilium openapi`` writes the result to a file)."""
    parts = {name: app.openapi() for name, app in apps.items() if isinstance(app, FastAPI)}
    if "live" in parts:
        parts["media"] = media_paths()
    return merge_openapi(parts, version=product_version())


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as problem:
        raise NotFound("The OpenAPI document is not installed.") from problem
