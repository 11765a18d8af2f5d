"""Stills and clips from the local ring: stored as valid DICOM, uploaded exactly once, whatever is killed in between."""

from __future__ import annotations

import io
import signal
import subprocess
from pathlib import Path
from typing import Any

import pydicom
from pydicom.encaps import generate_frames

from consilium_testkit.servers import need

CONTEXT = {
    "patient": {"patient_id": "P-17", "name": "Wang^Xiaodong=王^小东", "birth_date": "19700102", "sex": "F"},
    "study_uid": "2.25.300000000000000000000000000000000001",
    "accession_number": "A-17",
    "modality": "US",
    "study_description": "Echo",
}
MARK = {"room_id": "demo", "capture_id": "still-1", "context": CONTEXT}


def stored(cloud: Any) -> list[pydicom.Dataset]:
    """Return what the cloud stored, parsed."""
    return [pydicom.dcmread(io.BytesIO(body)) for _, body in cloud.stored]


async def published(cloud: Any, eventually: Any, frames: int = 5) -> None:
    """Have the device published into the room and wait for its pictures."""
    result = await cloud.done(cloud.order("stream.publish", room_id="demo"))
    assert result["outcome"] == "succeeded", result
    await eventually(lambda: cloud.whips[-1].frames >= frames, "pictures in the room")


def judge(path: Path) -> list[str]:
    """Return dciodvfy's errors."""
    need("dciodvfy", "dicom3tools")
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]


async def test_sp43_mark_without_a_reference_stores_the_newest_frame_without_loss(
    cloud: Any, make_agent: Any, eventually: Any, tmp_path: Path
) -> None:
    agent = make_agent()
    await agent.start()
    await published(cloud, eventually)
    result = await cloud.done(cloud.order("capture.mark", **MARK))
    assert result["outcome"] == "succeeded", result
    assert result["data"]["lossless"] is True
    await cloud.event("capture.spooled", capture_id="still-1")
    await cloud.event("capture.uploaded", capture_id="still-1")
    (image,) = stored(cloud)
    assert str(image.SOPInstanceUID) == result["data"]["sop_instance_uid"]
    assert (image.Rows, image.Columns, image.PhotometricInterpretation) == (480, 640, "RGB")
    assert image.SOPClassUID == pydicom.uid.UltrasoundImageStorage
    assert "LossyImageCompression" not in image or image.LossyImageCompression == "00"
    assert image.pixel_array.max() > 100
    assert str(image.PatientName) == "Wang^Xiaodong=王^小东"
    file = tmp_path / "still.dcm"
    file.write_bytes(cloud.stored[0][1])
    assert judge(file) == []
    await eventually(lambda: not list((agent.state_dir / "spool").glob("*.dcm")), "the spool is empty")


async def test_sp43_mark_with_the_receivers_rtp_timestamp_finds_that_very_frame(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    got = cloud.whips[0]
    await eventually(lambda: got.frames > 30, "30 pictures")
    wanted = got.last_rtp
    frame = {"track_id": "t", "rtp_timestamp": wanted}
    result = await cloud.done(cloud.order("capture.mark", **{**MARK, "frame": frame}))
    assert result["outcome"] == "succeeded", result
    again = {"track_id": "t", "rtp_timestamp": 0, "media_epoch": 1, "frame_no": result["data"]["frame_no"]}
    second = await cloud.done(cloud.order("capture.mark", **{**MARK, "capture_id": "still-2", "frame": again}))
    assert second["data"]["captured_at_us"] == result["data"]["captured_at_us"]
    await cloud.event("capture.uploaded", capture_id="still-2")
    one, two = stored(cloud)
    assert one.PixelData == two.PixelData
    strange = {"track_id": "t", "rtp_timestamp": (wanted + 90_000 * 3600) % 2**32}
    third = await cloud.done(cloud.order("capture.mark", **{**MARK, "capture_id": "still-3", "frame": strange}))
    assert (third["outcome"], third["data"]["code"]) == ("failed", "frame-not-kept")
    await cloud.event("capture.failed", capture_id="still-3", code="frame-not-kept")


async def test_clip_holds_the_last_seconds_as_jpeg_frames_of_the_ring(
    cloud: Any, make_agent: Any, eventually: Any, tmp_path: Path
) -> None:
    agent = make_agent()
    await agent.start()
    await cloud.done(cloud.order("stream.publish", room_id="demo"))
    await eventually(lambda: cloud.whips[0].frames > 100, "more than three seconds of pictures")
    clip = {"room_id": "demo", "capture_id": "clip-1", "seconds": 3, "context": CONTEXT}
    result = await cloud.done(cloud.order("capture.clip", **clip))
    assert result["outcome"] == "succeeded", result
    assert 10 <= result["data"]["frames"] <= 91  # a busy machine drops frames; the times below still tell the truth
    await cloud.event("capture.uploaded", capture_id="clip-1")
    (cine,) = stored(cloud)
    assert cine.SOPClassUID == pydicom.uid.UltrasoundMultiFrameImageStorage
    assert cine.PhotometricInterpretation == "YBR_FULL_422"
    frames = list(generate_frames(cine.PixelData, number_of_frames=int(cine.NumberOfFrames)))
    assert len(frames) == result["data"]["frames"]
    assert len(set(frames)) > len(frames) // 2
    times_ms = cine.get("FrameTimeVector") or [0.0] + [float(cine.FrameTime)] * (len(frames) - 1)
    assert 2500 <= sum(map(float, times_ms)) <= 3001
    file = tmp_path / "clip.dcm"
    file.write_bytes(cloud.stored[0][1])
    assert judge(file) == []


async def test_sp36_upload_cut_by_kill_9_goes_on_after_the_restart_and_is_stored_once(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    cloud.upload_gate.clear()
    agent = make_agent(source_fps="30")
    await agent.start()
    await published(cloud, eventually)
    command = cloud.order("capture.clip", room_id="demo", capture_id="clip-1", seconds=5, context=CONTEXT)
    result = await cloud.done(command)
    await eventually(lambda: any(u.body for u in cloud.uploads.values()), "the first chunk arrives")
    await agent.stop(signal.SIGKILL)
    assert list((agent.state_dir / "spool").glob("clip-1.dcm"))
    cloud.upload_gate.set()
    await agent.start()
    await cloud.event("capture.uploaded", capture_id="clip-1")
    await eventually(lambda: not list((agent.state_dir / "spool").glob("*.dcm")), "the spool is empty")
    assert len(cloud.stored) == 1
    assert len(cloud.uploads) == 1
    assert str(stored(cloud)[0].SOPInstanceUID) == result["data"]["sop_instance_uid"]


async def test_sp37_rejected_object_goes_to_quarantine_and_the_queue_goes_on(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    cloud.reject_kinds.add("still")
    agent = make_agent()
    await agent.start()
    await published(cloud, eventually)
    await cloud.done(cloud.order("capture.mark", **MARK))
    await cloud.event("capture.failed", capture_id="still-1", code="upload-rejected")
    await cloud.done(cloud.order("capture.clip", room_id="demo", capture_id="clip-1", seconds=1, context=CONTEXT))
    await cloud.event("capture.uploaded", capture_id="clip-1")
    assert (agent.state_dir / "spool" / "quarantine" / "still-1.dcm").is_file()
    assert not list((agent.state_dir / "spool").glob("still-1.*"))


async def test_sp34_damaged_chunk_is_sent_again(cloud: Any, make_agent: Any, eventually: Any) -> None:
    cloud.damage_chunks = 2
    agent = make_agent()
    await agent.start()
    await published(cloud, eventually)
    await cloud.done(cloud.order("capture.mark", **MARK))
    await cloud.event("capture.uploaded", capture_id="still-1")
    assert len(cloud.uploads) == 1


async def test_sp28_command_interrupted_by_kill_9_is_answered_after_the_restart(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    cloud.whip_status = 503
    agent = make_agent()
    await agent.start()
    command = cloud.order("stream.publish", room_id="demo")
    await eventually(lambda: command in cloud.acks, "the command is acknowledged")
    await eventually(lambda: any(e["event"] == "publication_retry" for e in agent.log()), "WHIP was tried")
    await agent.stop(signal.SIGKILL)
    cloud.whip_status = 201
    await agent.start()
    result = await cloud.done(command)
    assert (result["outcome"], result["data"]["code"]) == ("failed", "agent-restarted")
    await eventually(lambda: cloud.whips and cloud.whips[0].frames > 10, "the desired stream is published again")


async def test_sp45_nothing_is_captured_for_a_room_into_which_nothing_is_published(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await published(cloud, eventually, frames=40)
    other = {**MARK, "room_id": "other", "capture_id": "still-b"}
    refused = await cloud.done(cloud.order("capture.mark", **other))
    assert (refused["outcome"], refused["data"]["code"]) == ("failed", "not-publishing")
    await cloud.event("capture.failed", capture_id="still-b", code="not-publishing")
    await cloud.done(cloud.order("stream.stop", room_id="demo"))
    stopped = await cloud.done(cloud.order("capture.clip", room_id="demo", capture_id="c", seconds=9, context=CONTEXT))
    assert stopped["data"]["code"] == "not-publishing"
    await cloud.done(cloud.order("stream.publish", room_id="other"))
    await eventually(
        lambda: cloud.whips[-1].room_id == "other" and cloud.whips[-1].frames > 5, "the next room's pictures"
    )
    first = min(stamp.frame_no for stamp in cloud.whips[-1].stamps)
    clip = await cloud.done(
        cloud.order("capture.clip", room_id="other", capture_id="clip-b", seconds=60, context=CONTEXT)
    )
    assert clip["outcome"] == "succeeded", clip
    assert clip["data"]["frame_no"] >= first, "the clip begins with what was shown in this room"


async def test_sp24_a_command_whose_acceptance_was_not_answered_is_done_all_the_same(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await published(cloud, eventually)
    cloud.lose_ack_replies = 2
    result = await cloud.done(cloud.order("capture.mark", **MARK))
    assert result["outcome"] == "succeeded", result
    assert cloud.lose_ack_replies == 0
    await cloud.event("capture.uploaded", capture_id="still-1")
    assert len(cloud.stored) == 1


async def test_sp28_a_command_whose_acceptance_was_not_answered_before_a_kill_has_an_end(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    await published(cloud, eventually)
    cloud.lose_ack_replies = 1_000_000
    command = cloud.order("capture.mark", **MARK)
    await eventually(lambda: command in cloud.acks, "the acceptance arrived, its answer did not")
    await agent.stop(signal.SIGKILL)
    cloud.lose_ack_replies = 0
    await agent.start()
    result = await cloud.done(command)
    assert (result["outcome"], result["data"]["code"]) == ("failed", "agent-restarted")


async def test_sp26_a_result_that_the_server_can_not_read_holds_up_nothing(
    cloud: Any, make_agent: Any, eventually: Any
) -> None:
    agent = make_agent()
    await agent.start()
    cloud.unfit_results = 1
    cloud.order("agent.diagnose")
    await published(cloud, eventually)
    assert cloud.unfit_results == 0
    assert [e for e in agent.log() if e["event"] == "result_unfit"]
