"""Every endpoint of an app, and the permissions that its dependencies name: for tests that leave none out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from consilium_core.roles import Permission


def permissions(dependant: Dependant) -> set[Permission]:
    """Return the permissions that an endpoint's dependencies name."""
    named = getattr(dependant.call, "permission", None)
    inner = [permissions(d) for d in dependant.dependencies]
    return ({named} if named is not None else set()).union(*inner)


def endpoints(app: FastAPI) -> Iterator[tuple[str, str, set[Permission]]]:
    """Yield method, path and permissions of each endpoint."""

    def walk(routes: list[Any]) -> Iterator[APIRoute]:
        for route in routes:
            if isinstance(route, APIRoute):
                yield route
            else:
                nested = getattr(route, "original_router", None) or getattr(route, "router", None)
                yield from walk(getattr(nested, "routes", []))

    for route in walk(list(app.routes)):
        for method in sorted(route.methods or ()):
            yield method, route.path, permissions(route.dependant)
