"""Captures (RS-24): asked for in the room, made at the site, stored by ingest, never lost over a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consilium_core.clock import FakeClock
from consilium_core.errors import Unavailable
from consilium_core.events import EventType
from consilium_core.roles import Role
from consilium_core.site_protocol import CommandState
from consilium_live.flow.follow import CaptureFollower, take_ending
from consilium_live.flow.measures import measure
from consilium_live.flow.ports import GivenUp, Stored
from consilium_platform.outbox import add_event
from consilium_platform.platform import Platform

from .conftest import SITE, LiveService, offer, running, until

URL = "/api/v1/rooms/demo/captures"
FRAME = {"track_id": "demo-h264", "rtp_timestamp": 90_000, "media_epoch": 1, "frame_no": 30}


async def mark(live: LiveService, kind: str = "still", **more: Any) -> dict[str, Any]:
    hall = live.context.halls.get("demo")
    if hall is None or not hall.live:
        await live.go_live()
    body = {"kind": kind, **more}
    reply = await live.http.post(URL, json=body, headers=live.bearer(Role.SPECIALIST))
    assert reply.status_code == 202, reply.text
    capture: dict[str, Any] = reply.json()
    return capture


async def shown(live: LiveService, role: Role = Role.ADMIN) -> list[dict[str, Any]]:
    reply = await live.http.get(URL, headers=live.bearer(role))
    items: list[dict[str, Any]] = reply.json()["items"]
    return items


async def in_state(live: LiveService, state: str) -> dict[str, Any]:
    """Wait until the room's only capture is in this state."""
    for _ in range(2000):
        capture = (await shown(live))[0]
        if capture["state"] == state:
            return capture
        live.clock.advance(5)
    raise AssertionError(f"the capture never was {state}: {capture}")


async def announce_stored(platform: Platform, **data: str) -> None:
    async with platform.database.write() as session:
        facts = {
            "study_uid": "1.2",
            "series_uid": "1.2.3",
            "origin": "capture",
            "room_id": "demo",
            "site_id": SITE,
            **data,
        }
        await add_event(session, EventType.INSTANCE_STORED, tenant="demo", subject="1.2.3.4", data=facts)
    platform.outbox.wake()


async def test_a_still_is_ordered_with_its_frame_and_the_rooms_patient(live: LiveService) -> None:
    room = await live.open_room()
    capture = await mark(live, frame=FRAME)
    assert (capture["state"], capture["kind"], capture["requested_by"]) == ("requested", "still", "specialist")
    (order,) = live.gateway.of_type("capture.mark")
    sent = order.model_dump()
    assert (sent["room_id"], sent["capture_id"], sent["frame"]["frame_no"]) == ("demo", capture["id"], 30)
    context = sent["context"]
    assert context["patient"]["patient_id"] == "P-77"
    assert (context["study_uid"], context["accession_number"]) == (room["study_uid"], "A-1")
    assert context["modality"] == "US"
    entries = await live.audited(action="room.capture", patient_id="P-77")
    assert [e["actor"] for e in entries] == ["specialist"]


async def test_a_clip_is_ordered_with_its_seconds(live: LiveService) -> None:
    await live.open_room()
    await mark(live, "clip", seconds=12)
    assert live.gateway.of_type("capture.clip")[0].model_dump()["seconds"] == 12


@pytest.mark.parametrize(
    "body", [{}, {"kind": "film"}, {"kind": "clip", "seconds": 0}, {"kind": "clip", "seconds": 61}]
)
async def test_a_capture_that_does_not_fit_is_refused(live: LiveService, body: dict[str, Any]) -> None:
    await live.open_room()
    assert (await live.http.post(URL, json=body, headers=live.bearer(Role.OPERATOR))).status_code == 422
    assert await shown(live) == []


async def test_rs_24_nothing_is_captured_unless_the_sites_own_picture_is_live_in_this_room(live: LiveService) -> None:
    async def refused() -> None:
        for kind in ("still", "clip"):
            reply = await live.http.post(URL, json={"kind": kind}, headers=live.bearer(Role.SPECIALIST))
            assert (reply.status_code, reply.json()["code"]) == (409, "room-not-live")

    await live.open_room()
    await refused()  # nobody has published yet
    await live.whip(role=Role.OPERATOR)
    live.plane.packets("demo-operator-h264")
    await refused()  # somebody else's picture: the site films another patient
    await live.whip()
    await refused()  # announced, no packet yet
    live.plane.packets("demo-h264")
    await mark(live)
    live.plane.silence("demo-h264")
    await refused()
    live.plane.packets("demo-h264")
    await live.http.post("/api/v1/rooms/demo/stream", json={"action": "stop"}, headers=live.bearer(Role.OPERATOR))
    await refused()
    assert len(await shown(live)) == 1
    assert len(live.gateway.of_type("capture.mark")) == 1


async def test_rs_24_everybody_sees_each_state_and_it_is_stored_when_the_archive_says_so(live: LiveService) -> None:
    await live.open_room()
    async with live.socket() as specialist, live.socket() as trainee:
        await specialist.hello(live.token(Role.SPECIALIST))
        await trainee.hello(live.token(Role.TRAINEE))
        capture = await mark(live)
        assert (await specialist.next("capture"))["capture"]["state"] == "requested"
        await announce_stored(live.platform, capture_id=capture["id"])
        done = (await specialist.next("capture"))["capture"]
        assert (done["state"], done["study_uid"], done["sop_instance_uid"]) == ("stored", "1.2", "1.2.3.4")
        assert (await trainee.next("capture"))["capture"]["state"] == "requested"
        told = (await trainee.next("capture"))["capture"]
        assert told["state"] == "stored"
        assert "sop_instance_uid" not in told


async def test_the_instance_that_the_site_named_settles_the_capture_without_a_capture_id(live: LiveService) -> None:
    await live.open_room()
    await mark(live)
    live.gateway.answer(CommandState.SUCCEEDED, study_uid="1.2", sop_instance_uid="1.2.3.4")
    async with live.platform.bus.subscribe():
        for _ in range(2000):
            if (await shown(live))[0]["sop_instance_uid"]:
                break
            live.clock.advance(0.5)
    assert (await shown(live))[0]["state"] == "requested"  # spooled at the site is not stored
    await announce_stored(live.platform)
    await in_state(live, "stored")


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        (CommandState.REFUSED, "policy", "refused: policy"),
        (CommandState.FAILED, "frame-not-kept", "failed: frame-not-kept"),
        (CommandState.EXPIRED, "", "expired: The site did not answer in time."),
        (CommandState.CANCELLED, "", "cancelled"),
    ],
)
async def test_a_command_that_ends_badly_fails_the_capture_with_its_reason(
    live: LiveService, state: CommandState, reason: str, told: str
) -> None:
    await live.open_room()
    await mark(live)
    live.gateway.answer(state, reason)
    assert (await in_state(live, "failed"))["reason"] == told


async def test_a_gateway_that_is_away_fails_the_capture_at_once(live: LiveService) -> None:
    await live.open_room()
    live.gateway.refuse = Unavailable("The service gateway does not answer.")
    capture = await mark(live)
    assert (capture["state"], capture["reason"]) == ("failed", "The service gateway does not answer.")


async def test_an_instance_that_comes_after_the_failure_is_stored_all_the_same(live: LiveService) -> None:
    await live.open_room()
    capture = await mark(live)
    live.gateway.answer(CommandState.FAILED, "agent-restarted")
    await in_state(live, "failed")
    await announce_stored(live.platform, capture_id=capture["id"])
    done = await in_state(live, "stored")
    assert done["reason"] is None


async def test_another_tenants_instance_settles_nothing(live: LiveService) -> None:
    await live.open_room()
    capture = await mark(live)
    async with live.platform.database.write() as session:
        data = {"capture_id": capture["id"], "study_uid": "9.9", "origin": "capture"}
        await add_event(session, EventType.INSTANCE_STORED, tenant="other", subject="9.9.9", data=data)
    live.platform.outbox.wake()
    await announce_stored(live.platform, capture_id="unknown")
    live.gateway.answer(CommandState.FAILED, "policy")
    assert (await in_state(live, "failed"))["study_uid"] is None


async def announce_given_up(platform: Platform, capture_id: str, site_id: str = SITE, tenant: str = "demo") -> None:
    async with platform.database.write() as session:
        data = {"site_id": site_id, "code": "patient-mismatch"}
        await add_event(session, EventType.CAPTURE_FAILED, tenant=tenant, subject=capture_id, data=data)
    platform.outbox.wake()


async def spooled(live: LiveService) -> None:
    """Let the site's command succeed and wait until the capture only waits for the archive."""
    live.gateway.answer(CommandState.SUCCEEDED, study_uid="1.2", sop_instance_uid="1.2.3.4")
    for _ in range(2000):
        if not await live.context.store.ordered_captures():
            return
        live.clock.advance(0.5)
    raise AssertionError("the capture was never spooled")


async def test_a_capture_that_was_made_and_then_refused_by_the_archive_fails_with_its_cause(live: LiveService) -> None:
    await live.open_room()
    capture = await mark(live)
    await spooled(live)
    await announce_given_up(live.platform, capture["id"])
    assert (await in_state(live, "failed"))["reason"] == "It was not stored: patient-mismatch."


async def test_a_failure_that_was_announced_while_the_service_was_away_is_found(
    still_platform: Platform, clock: FakeClock
) -> None:
    async with running(still_platform, clock) as before:
        await before.open_room()
        capture = await mark(before)
        await spooled(before)
    await announce_given_up(still_platform, capture["id"])
    async with running(still_platform, clock) as after:
        assert (await in_state(after, "failed"))["reason"] == "It was not stored: patient-mismatch."


async def test_a_capture_that_never_arrives_fails_after_a_week_and_still_may_come(live: LiveService) -> None:
    await live.open_room()
    capture = await mark(live)
    await spooled(live)
    live.clock.advance(6 * 86_400)
    follower = CaptureFollower(live.context)
    await follower.step()
    assert (await shown(live))[0]["state"] == "requested"
    live.clock.advance(86_401)
    await follower.step()
    (failed,) = await shown(live)
    assert (failed["state"], failed["reason"]) == (
        "failed", "The site captured it, but it has not arrived within 7 days.",
    )  # fmt: skip
    await announce_stored(live.platform, capture_id=capture["id"])
    await in_state(live, "stored")


async def test_an_order_of_which_nothing_is_ever_heard_does_not_wait_for_ever(live: LiveService) -> None:
    await live.open_room()
    await mark(live)
    live.gateway.answer(CommandState.RUNNING)
    live.clock.advance(3600 + 121)
    assert (await in_state(live, "failed"))["reason"] == "What became of the order is not known."


async def test_another_site_of_the_tenant_can_neither_store_nor_fail_a_capture(live: LiveService) -> None:
    await live.open_room()
    capture = await mark(live)
    await spooled(live)
    for site_id in ("01OTHER", ""):
        stored = Stored(1, "demo", capture["id"], "6.6", "6.6.6", site_id)
        await take_ending(live.context, stored)
        await take_ending(live.context, replace(stored, capture_id="", sop_instance_uid="1.2.3.4"))
        await take_ending(live.context, GivenUp(2, "demo", capture["id"], site_id, "made-up"))
    assert (await shown(live))[0]["state"] == "requested"
    await take_ending(live.context, Stored(3, "demo", capture["id"], "1.2", "1.2.3.4", SITE))
    assert (await shown(live))[0]["state"] == "stored"


async def test_room_captured_events_carry_ids_only(live: LiveService) -> None:
    async with live.platform.bus.subscribe() as events:
        await live.open_room()
        capture = await mark(live)
        await announce_stored(live.platform, capture_id=capture["id"])
        seen: list[dict[str, Any]] = []
        while len(seen) < 2:
            event = await events.next(10)
            assert event is not None
            assert "P-77" not in event.model_dump_json()
            if event.type is EventType.ROOM_CAPTURED:
                assert event.subject == "demo"
                seen.append(event.data)
    base = {"capture_id": capture["id"], "kind": "still"}
    assert seen == [
        {**base, "state": "requested"},
        {**base, "state": "stored", "study_uid": "1.2", "sop_instance_uid": "1.2.3.4"},
    ]


async def test_rooms_and_open_captures_come_back_after_a_restart(still_platform: Platform, clock: FakeClock) -> None:
    async with running(still_platform, clock) as before:
        await before.open_room()
        await before.go_live()
        await until(
            lambda: (hall := before.context.halls.get("demo")) and hall.announced and hall.announced[0] == "live",
            "the room is live",
        )
        capture = await mark(before)
    await announce_stored(still_platform, capture_id=capture["id"])  # while the service is away
    async with running(still_platform, clock) as after:
        after.gateway.sent.append(("01SITE", None))  # type: ignore[arg-type]
        after.gateway.answer(CommandState.RUNNING)
        room = (await after.http.get("/api/v1/rooms/demo", headers=after.bearer(Role.ADMIN))).json()
        assert (room["state"], room["live"]) == ("live", False)
        done = await in_state(after, "stored")
        assert done["id"] == capture["id"]
        await after.go_live()
        assert (await after.http.get("/api/v1/rooms/demo", headers=after.bearer(Role.ADMIN))).json()["live"] is True


async def test_logs_name_no_patient_no_token_and_no_sdp(live: LiveService, capsys: pytest.CaptureFixture[str]) -> None:
    await live.open_room()
    access = live.token(Role.OPERATOR)
    async with live.socket() as socket:
        await socket.hello(access, codecs=("VP8",))
        await live.go_live()
        live.gateway.refuse = Unavailable("The service gateway does not answer.")
        await mark(live)
        await socket.send(type="subscribe", id="1", sdp=offer("sendonly:h264"), tracks={"0": "nothing"})
        await socket.next("subscribed")
    await live.context.errands.settle()
    written = "".join(capsys.readouterr())
    assert "errand_failed" in written  # the VP8 encode could not be ordered: there is a log to read
    for secret in ("P-77", "Wang", access, "v=0", "ice-ufrag"):
        assert secret not in written


async def test_figures_are_told_to_prometheus(live: LiveService) -> None:
    await live.open_room()
    await live.go_live()
    async with live.socket() as socket:
        await socket.hello(live.token(Role.OPERATOR))
        measure(live.context)
        text = (await live.http.get("/metrics")).text
    assert "consilium_live_participants 1.0" in text
    assert "consilium_live_rooms_live 1.0" in text
    assert 'consilium_live_http_sessions{kind="whip"} 1.0' in text


async def test_a_capture_goes_its_way_on_every_world(any_platform: Platform) -> None:
    async with running(any_platform, FakeClock()) as live:
        await live.open_room()
        capture = await mark(live)
        await announce_stored(any_platform, capture_id=capture["id"])
        done = await in_state(live, "stored")
        assert done["sop_instance_uid"] == "1.2.3.4"
        assert (await live.http.get("/api/v1/rooms", headers=live.bearer(Role.QC))).json()["items"][0]["id"] == "demo"


async def test_an_order_that_was_cut_off_by_a_crash_fails_after_its_deadline(
    still_platform: Platform, clock: FakeClock
) -> None:
    async with running(still_platform, clock) as before:
        await before.open_room()
        await mark(before)
        await before.context.store.change_capture(
            (await shown(before))[0]["id"], lambda capture: capture.sent("")
        )  # as if we had died before the gateway answered
    async with running(still_platform, clock) as after:
        failed = await in_state(after, "failed")
        assert failed["reason"] == "The order did not reach the site."
