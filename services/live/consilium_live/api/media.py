"""WHIP (RFC 9725) and WHEP: media sessions as HTTP resources."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.routing import Route

from consilium_core.errors import Invalid
from consilium_core.roles import Permission, Principal
from consilium_live.api.dependencies import context_of
from consilium_live.domain.offer import ice_ufrag
from consilium_live.errors import (
    IceRestartUnsupported,
    MediaTypeUnsupported,
    PreconditionFailed,
    PreconditionRequired,
    SdpTooLarge,
)
from consilium_live.flow import publish, view
from consilium_live.flow.context import LiveContext
from consilium_live.flow.resources import MediaResource, ResourceKind
from consilium_platform.http.auth import authorize

SDP_BOUND = 128 * 1024
FRAGMENT_BOUND = 16 * 1024
SDP_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"
PERMISSION = {"whip": Permission.ROOM_PUBLISH, "whep": Permission.ROOM_VIEW}
router = APIRouter()


async def _body(request: Request, media_type: str, bound: int) -> str:
    """Return the body as text; checks type and size before more than ``bound`` bytes are held."""
    _check_type(request, media_type)
    return _text(await _read(request, bound))


def _check_type(request: Request, media_type: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise MediaTypeUnsupported(f"The body must be {media_type}.", accepts=media_type)


async def _read(request: Request, bound: int) -> bytearray:
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) > bound:
            raise SdpTooLarge(f"The body is larger than {bound} bytes.", limit_bytes=bound)
    return held


def _text(held: bytearray) -> str:
    try:
        text = held.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise Invalid("The body is not UTF-8 text.") from problem
    if not text.strip():
        raise Invalid("The body is empty.")
    return text


def _created(context: LiveContext, kind: ResourceKind, resource: MediaResource, answer: str) -> Response:
    response = Response(answer, 201, media_type=SDP_TYPE)
    response.headers["Location"] = f"/{kind}/{resource.room_id}/{resource.id}"
    response.headers["ETag"] = resource.etag
    response.headers["Accept-Patch"] = FRAGMENT_TYPE
    response.headers["Cache-Control"] = "no-store"
    for server in context.ice.servers(resource.id, context.clock.now().timestamp()):
        for link in server.links():
            response.headers.append("Link", link)
    return response


def _resource(context: LiveContext, request: Request, kind: ResourceKind, principal: Principal) -> MediaResource:
    path = request.path_params
    return context.resources.find(
        kind, path["room_id"], path["session_id"], owner=principal.subject, tenant=principal.tenant
    )


def _options(accept_post: str = "") -> Response:
    """Answer OPTIONS (RFC 9725 4.2); nothing is told that needs a sign-in."""
    headers = {"Allow": "OPTIONS, POST" if accept_post else "OPTIONS, PATCH, DELETE"}
    if accept_post:
        headers["Accept-Post"] = accept_post
    else:
        headers["Accept-Patch"] = FRAGMENT_TYPE
    return Response(status_code=204, headers=headers)


def _endpoint(kind: ResourceKind) -> Route:
    async def answer(request: Request) -> Response:
        if request.method == "OPTIONS":
            return _options(SDP_TYPE)
        context = context_of(request)
        principal = await authorize(request, PERMISSION[kind])
        room_id = request.path_params["room_id"]
        if kind == "whip":
            await publish.admit_publisher(context, principal, room_id)
        sdp = await _body(request, SDP_TYPE, SDP_BOUND)
        work = publish.publish if kind == "whip" else view.view
        resource, sdp_answer = await work(context, principal, room_id, sdp)
        return _created(context, kind, resource, sdp_answer)

    return Route(f"/{kind}/{{room_id}}", answer, methods=["POST", "OPTIONS"], name=f"{kind}-endpoint")


def _session(kind: ResourceKind) -> Route:
    async def answer(request: Request) -> Response:
        if request.method == "OPTIONS":
            return _options()
        context = context_of(request)
        principal = await authorize(request, PERMISSION[kind])
        resource = _resource(context, request, kind, principal)
        if request.method == "DELETE":
            await (publish.unpublish if kind == "whip" else view.unview)(context, resource)
            return Response(status_code=200)
        reply = await _patch(context, request, resource)
        resource.expires_at = max(resource.expires_at, principal.expires_at)
        return reply

    return Route(
        f"/{kind}/{{room_id}}/{{session_id}}", answer, methods=["PATCH", "DELETE", "OPTIONS"], name=f"{kind}-session"
    )


async def _patch(context: LiveContext, request: Request, resource: MediaResource) -> Response:
    """Trickle candidates (RFC 9725 4.3.1); an ICE restart is refused with 422 and the session stays (4.3.2).

    Without a body it says only that its owner is still there, with the token it carries: the session goes on until that one ends.
    """
    held = await _read(request, FRAGMENT_BOUND)
    if not held:
        return Response(status_code=204)
    _check_type(request, FRAGMENT_TYPE)
    fragment = _text(held)
    condition = request.headers.get("if-match", "")
    if not condition:
        raise PreconditionRequired("PATCH needs If-Match.")
    given = ice_ufrag(fragment)
    if condition == "*" or (given and given != resource.ufrag):
        raise IceRestartUnsupported("ICE is not restarted here: make a new session.")
    if condition != resource.etag:
        raise PreconditionFailed("The ICE session is another one by now.")
    await context.plane.add_ice_candidates(resource.id, fragment)
    return Response(status_code=204)


for _kind in ("whip", "whep"):
    router.routes.append(_endpoint(_kind))
    router.routes.append(_session(_kind))
