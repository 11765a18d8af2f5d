"""Captures: asked for in the room, made at the site, stored by ingest; followed here to their end (RS-24).

The command is followed by asking the gateway with back-off; the end is told by ``instance.stored``. Both survive a restart:
what is unfinished is in SQL, what was announced meanwhile is in the outbox.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from consilium_core.errors import ConsiliumError
from consilium_core.ids import new_ulid
from consilium_core.roles import Principal
from consilium_core.site_protocol import CaptureClip, CaptureMark
from consilium_live.domain.capture import Capture, CaptureState
from consilium_live.domain.room import Room
from consilium_live.errors import RoomNotLive
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Audience
from consilium_live.flow.render import capture_wire
from consilium_live.wire.rest import CaptureOrder, CapturePage, CaptureWire
from consilium_live.wire.server import CaptureChanged

_MARGIN_S = 20.0
_UNTOLD = "What became of the order is not known."
_NO_ANSWER_AFTER = timedelta(hours=1)  # past its deadline: the gateway itself ends every command long before


async def request_capture(context: LiveContext, principal: Principal, room_id: str, order: CaptureOrder) -> CaptureWire:
    """Write the capture down, order it at the site, and tell the room; only while the site's picture is live here."""
    room = await context.store.room(room_id, principal.tenant)
    room.require_open()
    _require_picture(context, room)
    now = context.clock.now()
    capture = Capture(
        id=new_ulid().lower(), room_id=room.id, tenant=room.tenant, kind=order.kind, state=CaptureState.REQUESTED,
        seconds=order.seconds, frame=order.frame, requested_at=now, requested_by=principal.subject,
        deadline=now + timedelta(seconds=context.settings.capture_deadline_s),
    )  # fmt: skip
    await context.audit.act(
        principal, "room.capture", subject=room.id, patient_id=room.patient.patient_id,
        detail=f"{capture.kind} {capture.id}",
    )  # fmt: skip
    await context.store.add_capture(capture)
    show_capture(context, capture)
    capture = await _order(context, principal, room, capture)
    return capture_wire(capture, Audience.of(principal))


def _require_picture(context: LiveContext, room: Room) -> None:
    """Raise RoomNotLive unless the site delivers packets into this very room: what it films otherwise is not this patient."""
    hall = context.halls.get(room.id)
    if hall is None or not hall.delivers(room.site_id):
        raise RoomNotLive(
            "The site's picture is not live in this room, so nothing can be captured. Start the stream, or wait until it is back.",
            room_id=room.id,
        )


async def _order(context: LiveContext, principal: Principal, room: Room, capture: Capture) -> Capture:
    purpose = room.capture_context(principal.name)
    args = (
        CaptureMark(room_id=room.id, capture_id=capture.id, frame=capture.frame, context=purpose)
        if capture.kind == "still"
        else CaptureClip(room_id=room.id, capture_id=capture.id, seconds=capture.seconds, context=purpose)
    )
    try:
        command_id = await context.commands.send(
            room.tenant, room.site_id, args,
            deadline_s=context.settings.capture_deadline_s, actor=principal.subject,
        )  # fmt: skip
    except ConsiliumError as problem:
        reason = problem.detail
        return await settle(context, capture.id, lambda c: c.failed(reason)) or capture
    return await settle(context, capture.id, lambda c: c.sent(command_id)) or capture


async def list_captures(context: LiveContext, principal: Principal, room_id: str) -> CapturePage:
    """Return a room's captures, oldest first."""
    room = await context.store.room(room_id, principal.tenant)
    audience = Audience.of(principal)
    shown = room.patient.patient_id if audience.studies else ""
    await context.audit.act(principal, "room.captures.view", subject=room.id, patient_id=shown)
    return CapturePage(items=[capture_wire(c, audience) for c in await context.store.captures(room_id)])


async def settle(context: LiveContext, capture_id: str, change: Callable[[Capture], Capture]) -> Capture | None:
    """Change a capture and show the room its new state."""
    states: list[CaptureState] = []

    def noting(capture: Capture) -> Capture:
        states.append(capture.state)
        return change(capture)

    after = await context.store.change_capture(capture_id, noting)
    if after is not None and after.state is not states[-1]:
        show_capture(context, after)
    return after


def show_capture(context: LiveContext, capture: Capture) -> None:
    """Tell everybody in the room (RS-24)."""
    hall = context.halls.get(capture.room_id)
    if hall is not None:
        hall.broadcast_by_audience(lambda audience: CaptureChanged(capture=capture_wire(capture, audience)))


async def follow_command(context: LiveContext, capture: Capture) -> bool:
    """Ask the gateway once how the command stands; True when nothing more can be learnt from it."""
    overdue = context.clock.now() > capture.deadline + timedelta(seconds=_MARGIN_S)
    if not capture.command_id:
        if overdue:
            await settle(context, capture.id, lambda c: c.failed("The order did not reach the site."))
        return overdue
    lost = context.clock.now() > capture.deadline + _NO_ANSWER_AFTER
    try:
        status = await context.commands.status(capture.tenant, capture.command_id)
    except ConsiliumError:
        if lost:  # else the gateway is away; what the site does goes on without us
            await settle(context, capture.id, lambda c: c.failed(_UNTOLD))
        return lost
    state = status.state.value
    if state == "succeeded":
        study, instance = str(status.data.get("study_uid") or ""), str(status.data.get("sop_instance_uid") or "")
        await settle(context, capture.id, lambda c: c.spooled(study, instance))
        return True
    if state in ("failed", "refused", "expired", "cancelled"):
        words = status.reason or {"expired": "The site did not answer in time."}.get(state, "")
        await settle(context, capture.id, lambda c: c.failed(f"{state}: {words}" if words else state))
        return True
    if lost:
        await settle(context, capture.id, lambda c: c.failed(_UNTOLD))
    return lost
