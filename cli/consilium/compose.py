"""Composition of the server rooms: all in one process (embedded), or one of them (cluster).

The only place that knows every service; services know only the platform they are handed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from consilium_platform.platform import Platform

SERVICES = ("gateway", "ingest", "imaging", "live", "consult")


@dataclass(frozen=True, slots=True)
class Dicom:
    """Where the command line opens ingest's DIMSE door; the allow list and the limits come from its settings."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the embedded world tells its services: the media address, the site of requests that name none, the DIMSE door."""

    media_host: str
    media_port: int
    default_site_id: str = ""
    dicom: Dicom | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """The one public app, and how to tell it that the end is near."""

    app: ASGIApp
    gateway: FastAPI
    begin_shutdown: Callable[[], None]


@asynccontextmanager
async def open_backend(
    platform: Platform, service: str, embedded: Embedded | None = None, dicom: Dicom | None = None
) -> AsyncIterator[FastAPI]:
    """Open one of the services behind the gateway and put it into the directory."""
    given: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        if service == "ingest":
            from consilium_ingest.app import open_service as open_ingest
            from consilium_ingest.dimse.settings import DimseSettings

            dicom = embedded.dicom if embedded is not None else dicom
            if dicom is not None:
                given = {"host": dicom.host, "port": dicom.port}
            app = await stack.enter_async_context(open_ingest(platform, dimse=DimseSettings.load(**given)))
        elif service == "imaging":
            from consilium_imaging.app import open_service as open_imaging

            app = await stack.enter_async_context(open_imaging(platform))
        elif service == "consult":
            from consilium_consult.app import open_service as open_consult
            from consilium_consult.settings import ConsultSettings

            if embedded is not None and embedded.default_site_id:
                given = {"default_site_id": embedded.default_site_id}
            app = await stack.enter_async_context(open_consult(platform, ConsultSettings.load(**given)))
        elif service == "live":
            from consilium_live.app import open_service as open_live
            from consilium_live.settings import LiveSettings

            if embedded is not None:
                given = {"udp_host": embedded.media_host, "udp_port": embedded.media_port}
            app = await stack.enter_async_context(open_live(platform, LiveSettings.load(**given)))
        else:
            raise ValueError(f"no such service: {service}")
        platform.services.register(service, app)
        yield app


@asynccontextmanager
async def open_front(
    platform: Platform, upstreams: Mapping[str, ASGIApp], web_dist: Path | None
) -> AsyncIterator[Door]:
    """Open the gateway before the given services; what is missing is forwarded to its configured URL."""
    from consilium_gateway.app import begin_shutdown, door_of, open_service

    async with open_service(platform, upstreams=upstreams, web_dist=web_dist) as gateway:
        platform.services.register("gateway", gateway)
        yield Door(door_of(gateway), gateway, partial(begin_shutdown, gateway))


@asynccontextmanager
async def open_everything(platform: Platform, embedded: Embedded, web_dist: Path | None) -> AsyncIterator[Door]:
    """Open all services in this process; yield the one door."""
    import consilium_gateway.app  # noqa: F401 - imports hold up the loop: all of them before live's socket is open

    async with AsyncExitStack() as stack:
        upstreams: dict[str, ASGIApp] = {}
        for name in ("ingest", "imaging", "consult", "live"):
            upstreams[name] = await stack.enter_async_context(open_backend(platform, name, embedded))
        yield await stack.enter_async_context(open_front(platform, upstreams, web_dist))
