"""What the endpoints read from the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from consilium_live.flow.context import LiveContext


def context_of(connection: HTTPConnection) -> LiveContext:
    """Return the context that the composition root put on the app."""
    context: LiveContext = connection.app.state.live
    return context


Context = Annotated[LiveContext, Depends(context_of)]
