"""The real agent against a fake cloud: enrolment, polling, publishing, reconnection, and no listening socket ever."""

from __future__ import annotations

import signal
import stat
from pathlib import Path
from typing import Any

CONTEXT = {"study_uid": "2.25.300000000000000000000000000000000001"}
_LISTEN = "0A"


def sockets(pid: int) -> set[str]:
    """Return the socket inodes that a process holds."""
    links = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            links.add(target[8:-1])
    return links


def listening(pid: int) -> list[str]:
    """Return the process's listening TCP and Unix sockets, as lines of /proc/<pid>/net."""
    own, found = sockets(pid), []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in own:
                found.append(line)
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        accepts = int(fields[3], 16) & 0x10000  # __SO_ACCEPTCON
        if accepts and fields[6] in own:
            found.append(line)
    return found


def udp(pid: int) -> int:
    """Return how many UDP sockets the process holds."""
    own = sockets(pid)
    lines = [ln for t in ("udp", "udp6") for ln in Path(f"/proc/{pid}/net/{t}").read_text().splitlines()[1:]]
    return sum(line.split()[9] in own for line in lines)


async def test_sp41_enrolled_agent_publishes_and_the_decoded_pictures_move(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    result = await cloud.done(cloud.order("stream.publish", room_id="demo"))
    assert result["outcome"] == "succeeded", result
    assert (result["data"]["width"], result["data"]["height"], result["data"]["fps"]) == (640, 480, 30.0)
    got = cloud.whips[0]
    await eventually(lambda: got.frames >= 60 and len(got.checksums) >= 20, "60 pictures, 20 different ones")
    assert got.size == (640, 480)
    rtpmaps = [line for line in got.offer.splitlines() if line.startswith("a=rtpmap")]
    assert {line.split(" ")[1].split("/")[0] for line in rtpmaps} == {"H264", "rtx"}
    first = next(line for line in got.offer.splitlines() if line.startswith("a=fmtp"))
    assert "packetization-mode=1" in first
    assert "profile-level-id=42e01f" in first
    identity = agent.state_dir / "identity.json"
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    assert await agent.stop() == 0
    assert got.deleted


async def test_sp01_sec01_agent_has_no_listening_socket_before_during_and_after_a_session(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await eventually(lambda: cloud.polls, "the first poll")
    assert listening(agent.pid) == []
    assert udp(agent.pid) == 0
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    await eventually(lambda: cloud.whips[0].frames > 10, "pictures")
    assert sockets(agent.pid)
    assert listening(agent.pid) == []
    await cloud.done(cloud.order("stream.stop", room_id="demo"))
    await eventually(lambda: cloud.whips[0].deleted, "the session is deleted")
    assert listening(agent.pid) == []
    await eventually(lambda: udp(agent.pid) == 0, "ICE's sockets are closed")


async def test_sp10_lost_enrolment_reply_does_not_burn_the_code(cloud: Any, make_agent: Any, eventually: Any) -> None:
    cloud.lose_enrol_replies = 1
    agent = make_agent()
    await agent.start()
    await eventually(lambda: cloud.polls, "the first poll")
    assert len(cloud.sessions) == 1


async def test_sp21_polls_cut_by_the_server_lose_no_command(cloud: Any, make_agent: Any, eventually: Any) -> None:
    cloud.cut_polls = 4
    agent = make_agent()
    await agent.start()
    result = await cloud.done(cloud.order("agent.diagnose"))
    assert result["outcome"] == "succeeded"
    report = await cloud.event("diagnostics", version="0.1.0")
    assert report["spool"] == {"unacknowledged": 0, "bytes": 0}
    assert cloud.cut_polls == 0


async def test_sp25_command_delivered_twice_has_its_effect_once(cloud: Any, make_agent: Any, eventually: Any) -> None:
    agent = make_agent()
    await agent.start()
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    await eventually(lambda: cloud.whips[0].frames > 5, "pictures in the room")
    command = cloud.order("capture.mark", room_id="demo", capture_id="c1", context=CONTEXT)
    await cloud.done(command)
    cloud.commands.append({**cloud.commands[-1], "seq": 3})
    cloud.new_command.set()
    last = cloud.order("agent.diagnose")
    await cloud.done(last)
    assert len(cloud.seen("capture.spooled", capture_id="c1")) == 1


async def test_sp04_unknown_command_is_refused_and_the_next_one_runs(cloud: Any, make_agent: Any) -> None:
    agent = make_agent()
    await agent.start()
    strange = cloud.order("shell.run", text="ls")
    late = cloud.order("agent.diagnose", valid_s=-5)
    assert (await cloud.done(cloud.order("agent.diagnose")))["outcome"] == "succeeded"
    assert cloud.acks[strange] == {"verdict": "refused", "reason": "unsupported"}
    assert cloud.acks[late] == {"verdict": "refused", "reason": "expired"}


async def test_sp29_local_policy_is_above_the_cloud(cloud: Any, make_agent: Any) -> None:
    agent = make_agent()
    agent.state_dir.mkdir()
    (agent.state_dir / "policy.toml").write_text('allow = ["agent.diagnose"]\n')
    await agent.start()
    command = cloud.order("stream.publish", room_id="demo")
    await cloud.done(cloud.order("agent.diagnose"))
    assert cloud.acks[command] == {"verdict": "refused", "reason": "policy"}
    assert cloud.whips == []


async def test_sp40_lost_peer_is_replaced_and_the_stream_survives_kill_9(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    await eventually(lambda: cloud.whips[0].frames > 5, "pictures")
    await cloud.hang_up(cloud.whips[0])
    await eventually(lambda: len(cloud.whips) > 1 and cloud.whips[-1].frames > 5, "pictures on a second session")
    await agent.stop(signal.SIGKILL)
    before = len(cloud.whips)
    await agent.start()
    await eventually(lambda: len(cloud.whips) > before and cloud.whips[-1].frames > 5, "pictures after the restart")
    assert (await cloud.event("stream.started", media_epoch=2))["room_id"] == "demo"


async def test_sp40_server_that_died_without_a_word_is_noticed_and_published_to_again(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    await eventually(lambda: cloud.whips[0].frames > 5, "pictures")
    cloud.fall_silent(cloud.whips[0])
    await eventually(lambda: len(cloud.whips) > 1 and cloud.whips[-1].frames > 5, "pictures on a second session")


async def test_sp40_stream_that_the_room_no_longer_wants_is_forgotten(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    cloud.whip_status = 410
    await cloud.hang_up(cloud.whips[0])
    stopped = await cloud.event("stream.stopped", room_id="demo")
    assert stopped["reason"] == "gone"
    assert await agent.stop() == 0
    await agent.start()
    await cloud.done(cloud.order("agent.diagnose"))
    assert (await cloud.event("diagnostics"))["publications"] == []


async def test_sp42_keyframe_comes_on_pli_and_vp8_beside_h264_on_demand(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent(keyframe_interval_s="10")
    await agent.start()
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    got = cloud.whips[0]
    await eventually(lambda: got.frames > 30, "pictures")
    before = got.keyframes
    await cloud.ask_keyframe(got)
    await eventually(lambda: got.keyframes > before, "a keyframe upon PLI")
    assert got.stamps, "the SEI stamp stands before keyframes"
    assert got.stamps[0].media_epoch == 1
    result = await cloud.done(cloud.order("stream.publish", room_id="demo", codec="vp8"))
    assert result["data"]["codec"] == "vp8"
    await eventually(lambda: cloud.whips[1].frames > 10, "VP8 pictures")
    assert "VP8" in cloud.whips[1].offer
    assert "H264" not in cloud.whips[1].offer


async def test_sp30_event_whose_acknowledgement_was_lost_is_sent_again_with_its_number(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    cloud.lose_event_replies = 1
    agent = make_agent()
    await agent.start()
    await cloud.done(cloud.order("agent.diagnose"))
    await cloud.event("diagnostics")
    await eventually(lambda: len(cloud.event_seqs_seen) > len(set(cloud.event_seqs_seen)), "an event sent twice")
    assert sorted(e["seq"] for e in cloud.events) == list(range(1, len(cloud.events) + 1))


async def test_sp02_expired_token_is_renewed_once_and_work_goes_on(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await eventually(lambda: cloud.polls, "the first poll")
    cloud.tokens.clear()
    await cloud.done(cloud.order("agent.diagnose"))
    assert cloud.token_requests == 1


async def test_sp32_log_holds_no_patient_data_tokens_or_sdp(cloud: Any, make_agent: Any, eventually: Any) -> None:
    agent = make_agent(log_level="DEBUG")
    await agent.start()
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    context = {**CONTEXT, "patient": {"patient_id": "SECRETPID", "name": "Secretname^X"}}
    await eventually(lambda: any(d["devices"][0]["state"] == "live" for d in cloud.seen("devices")), "a live device")
    await cloud.done(cloud.order("capture.mark", room_id="demo", capture_id="c1", context=context))
    await cloud.event("capture.uploaded", capture_id="c1")
    assert await agent.stop() == 0
    said = agent.log_file.read_text(encoding="utf-8") + str(cloud.events) + str(cloud.results)
    secrets = ["SECRETPID", "Secretname", "ABCDE12345", cloud.secret, *cloud.tokens, "a=ice-ufrag", "a=fingerprint"]
    assert [word for word in secrets if word in said] == []


async def test_enroll_and_status_say_who_the_agent_is(cloud: Any, make_agent: Any, eventually: Any) -> None:
    agent = make_agent()
    status, said = await agent.ask("status")
    assert (status, "not enrolled" in said, "not running" in said) == (0, True, True)
    status, said = await agent.ask("enroll")
    assert status == 0
    assert "site-1" in said
    assert cloud.sessions == []
    await agent.start()
    await eventually(lambda: cloud.polls, "the first poll")
    status, said = await agent.ask("status")
    assert "site-1" in said
    assert "agent:      running" in said
    status, said = await agent.ask("main")
    assert status == 2
    assert "Another agent already runs" in said


async def test_sp12_revoked_site_hangs_up_keeps_its_spool_and_goes_on_asking(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    await eventually(lambda: cloud.whips[0].frames > 5, "pictures")
    cloud.secret = "another"
    cloud.tokens.clear()
    await cloud.hang_up(cloud.whips[0])
    await eventually(lambda: cloud.token_requests > 1, "the agent asks again")
    assert len(cloud.whips) == 1
    assert agent.process.returncode is None
    cloud.secret = "s3cret-refresh"
    await cloud.done(cloud.order("agent.diagnose"))
