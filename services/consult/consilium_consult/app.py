"""Composition root of consult: people, work and reports over the platform it is handed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Response

from consilium_consult.adapters.printing import Printer
from consilium_consult.api.internal import internal_router
from consilium_consult.api.people import people_router
from consilium_consult.api.reports import reports_router
from consilium_consult.flow.common import Desk
from consilium_consult.settings import ConsultSettings
from consilium_platform.http.app import create_app
from consilium_platform.platform import Platform


async def no_store(response: Response) -> None:
    """Keep answers about patients out of every cache."""
    response.headers["Cache-Control"] = "no-store"


@asynccontextmanager
async def open_service(platform: Platform, settings: ConsultSettings | None = None) -> AsyncIterator[FastAPI]:
    """Yield the ASGI application; the printer's thread ends with the block."""
    settings = settings or ConsultSettings.load()
    desk = Desk(platform, settings)
    app = create_app("consult", platform)
    printer = Printer(settings.font_file)
    for router in (people_router(desk), reports_router(desk, printer), internal_router(desk)):
        app.include_router(router, dependencies=[Depends(no_store)])
    try:
        yield app
    finally:
        printer.close()
