"""Routes of endpoints that are asked for thousands of times a minute: the caller's permission, the path, nothing else in between.

``APIRouter(route_class=PlainRoute)`` declares endpoints as always (so they are in OpenAPI, and tests find the permission that each names),
but resolves no dependencies per request: measured at a fifth of the CPU of answering a frame. An endpoint that needs more than its
request, parts of the path as text and ``Depends(require(...))`` is refused when it is declared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import request_response

from consilium_platform.http.auth import authorize, require


class PlainRoute(APIRoute):
    """A route whose endpoint takes the request, parts of its path and the caller; it returns the response."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        asked, [caller, *others] = self.dependant, [*self.dependant.dependencies, None]
        more = [
            *asked.query_params,
            *asked.header_params,
            *asked.cookie_params,
            *asked.body_params,
            *filter(None, others),
        ]
        parts = [one for one in asked.path_params if one.field_info.annotation is not str]
        if more or parts or caller is None or not isinstance(caller.call, require):
            raise TypeError(f"{path} asks for more than a plain route gives: a request, text of its path, a caller.")
        self._permission, self._caller = caller.call.permission, str(caller.name)
        self._request = asked.request_param_name
        self.app = request_response(self._answer)

    async def _answer(self, request: Request) -> Response:
        given: dict[str, Any] = {**request.path_params, self._caller: await authorize(request, self._permission)}
        if self._request is not None:
            given[self._request] = request
        answer: Response = await self.endpoint(**given)
        return answer


def serve(app: FastAPI, router: APIRouter) -> None:
    """Put a router's routes among the app's own: ``include_router`` would look for each one twice."""
    app.router.routes.extend(router.routes)
