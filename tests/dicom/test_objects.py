"""Videos, documents, key objects and reports that we write: conformant by dciodvfy, read by dcmtk, accepted by ourselves."""

from __future__ import annotations

import io
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import av
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.dicom.test_video import Film as Made
from tests.dicom.test_video import made

from consilium_core.ids import new_uid
from consilium_core.site_protocol import CaptureContext
from consilium_dicom.build import Calibration, Equipment, Region, build_still
from consilium_dicom.build_document import Code, Pdf, Reference, build_pdf, evidence, named_identity
from consilium_dicom.build_report import (
    FOR_CONFERENCE,
    KeyObjects,
    Measurement,
    Report,
    Section,
    Verification,
    build_key_objects,
    build_report,
)
from consilium_dicom.build_video import Film, UnsuitableVideo, build_video, transfer_syntax_for
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.frames import walk_fragments
from consilium_dicom.header import read_header
from consilium_dicom.sr_content import _decimal
from consilium_dicom.validate import validate
from consilium_dicom.video.bits import VideoUnreadable
from consilium_dicom.video.mp4_write import mp4_of
from consilium_dicom.video.stream import Picture
from consilium_testkit.servers import need, wait_for

PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
PLAIN = (("profile", "high"), ("level", "4.1"), ("g", "10"), ("bf", "0"))
STILL, CINE = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"


def reference(*frames: int) -> Reference:
    return Reference("1.2.3", "1.2.3.4", CINE if frames else STILL, new_uid(), frames)


def judged(data: bytes, path: Path) -> pydicom.Dataset:
    """Return the object as pydicom reads it, after dciodvfy, dcmdump and our own validation had nothing to say against it."""
    need("dciodvfy", "dicom3tools")
    path.write_bytes(data)
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in done.stderr.splitlines() if "Error" in line] == []
    dump = subprocess.run([need("dcmdump", "dcmtk"), "-q", str(path)], capture_output=True, timeout=60, check=False)
    assert dump.returncode == 0
    assert b"SOPInstanceUID" in dump.stdout
    run = validate(data)
    assert (run.verdict, run.warnings) == ("accept", ())
    return pydicom.dcmread(io.BytesIO(data))


@pytest.fixture
def identity_of(context: CaptureContext, captured_at: datetime):  # type: ignore[no-untyped-def]
    return lambda name, **more: named_identity(context, name, captured_at, **more)


@pytest.mark.parametrize(("modality", "name"), [("ES", "Endoscopic"), ("XC", "Photographic"), ("US", "Photographic")])
@pytest.mark.parametrize("container", ["mp4", "h264", "mpegts"])
def test_a_captured_stream_becomes_a_video_object_without_another_encode(
    modality: str, name: str, container: str, context: CaptureContext, equipment: Equipment, identity_of, tmp_path: Path
) -> None:
    video = made(Made(container=container, options=PLAIN))
    mine = context.model_copy(update={"modality": modality})
    data = build_video(Film(video, fps=25.0), mine, identity_of("clip-7"), equipment)
    ds = judged(data, tmp_path / "video.dcm")
    assert f"Video {name} Image Storage" == ds.SOPClassUID.name
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.102"
    assert (ds.NumberOfFrames, ds.FrameTime, ds.CineRate, ds.Rows, ds.Columns) == (30, 40, 25, 480, 640)
    assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_14496_10")
    found = walk_fragments(data, read_header(data).pixel_offset)
    assert (len(found.segments), found.basic_offsets) == (1, ())
    at, length = found.segments[0]
    if container == "h264":
        assert data[at : at + length].rstrip(b"\0") == mp4_of(video, 25.0).rstrip(b"\0")
    else:
        assert data[at : at + len(video)] == video


def pictures(data: bytes, form: str | None = None) -> list[NDArray[np.uint8]]:
    with av.open(io.BytesIO(data), format=form) as source:
        return [frame.to_ndarray(format="gray") for frame in source.decode(video=0)]


@pytest.mark.parametrize("film", [
    Made(container="h264", options=PLAIN), Made(container="h264", options=(*PLAIN, ("x264-params", "slices=4:aud=1"))),
    Made(container="h264", width=322, height=242, options=(("profile", "main"), ("bf", "0"))),
])  # fmt: skip
def test_a_bare_stream_in_its_mp4_decodes_to_the_same_pictures(film: Made) -> None:
    video = made(film)
    boxed = mp4_of(video, 25.0)
    before, after = pictures(video, "h264"), pictures(boxed)
    assert len(after) == film.frames
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    with av.open(io.BytesIO(boxed)) as source:
        assert float(source.streams.video[0].average_rate) == 25.0


def test_a_stream_of_two_parameter_sets_keeps_them_where_they_change() -> None:
    video = made(Made(container="h264", options=PLAIN)) + made(Made(container="h264", options=(*PLAIN, ("qp", "40"))))
    assert len(pictures(mp4_of(video, 25.0))) == 60


def test_a_stream_that_nobody_could_show_is_refused_with_its_reason(
    context: CaptureContext, equipment: Equipment, identity_of
) -> None:
    def build(video: bytes, **more: object) -> bytes:
        return build_video(Film(video, **more), context, identity_of("x"), equipment)  # type: ignore[arg-type]

    with pytest.raises(VideoUnreadable, match="B pictures"):
        build(made(Made(container="h264")))
    with pytest.raises(UnsuitableVideo, match="level 5"):
        build(made(Made(options=(("profile", "high"), ("level", "5.1")))))
    with pytest.raises(UnsuitableVideo, match="4:2:0"):
        build(made(Made(options=(), pixels="yuv444p")))
    with pytest.raises(VideoUnreadable):
        build(b"no video at all" * 100)
    start = made(Made(container="h264", options=PLAIN))
    with pytest.raises(VideoUnreadable, match="IDR"):
        mp4_of(start.replace(b"\0\0\1\x65", b"\0\0\1\x41"), 25.0)


@pytest.mark.parametrize(("profile", "level", "more", "suffix"), [
    (100, 31, {}, "102"), (100, 41, {"disc": True}, "103"), (100, 42, {}, "104"), (100, 40, {"frame_packed": True}, "105"),
    (128, 42, {}, "106"), (77, 40, {}, "102"),
])  # fmt: skip
def test_the_transfer_syntax_follows_the_parameter_set(
    profile: int, level: int, more: dict[str, bool], suffix: str
) -> None:
    assert transfer_syntax_for(Picture("H.264", profile, level, 640, 480), **more).endswith("." + suffix)


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_refused_or_become_a_file(data: bytes) -> None:
    with suppress(DicomInvalid):
        assert mp4_of(b"\0\0\1\x67" + data, 25.0)[4:8] == b"ftyp"


def test_a_pdf_is_kept_byte_for_byte_with_its_title_and_sources(
    context: CaptureContext, equipment: Equipment, identity_of, tmp_path: Path
) -> None:
    source = reference()
    pdf = Pdf(PDF, "会诊报告", Code("11488-4", "LN", "Consult note"), (source,))
    data = build_pdf(pdf, context, identity_of("report-1"), equipment)
    ds = judged(data, tmp_path / "pdf.dcm")
    assert ds.EncapsulatedDocument[: len(PDF)] == PDF
    assert (ds.EncapsulatedDocumentLength, ds.DocumentTitle, ds.Modality) == (len(PDF), "会诊报告", "DOC")
    assert ds.SourceInstanceSequence[0].ReferencedSOPInstanceUID == source.sop_instance_uid
    assert build_pdf(pdf, context, identity_of("report-1"), equipment) == data
    assert build_pdf(Pdf(PDF), context, identity_of("report-2"), equipment) != data
    with pytest.raises(DicomInvalid):
        Pdf(b"<html>")


def test_key_objects_name_what_was_chosen(
    context: CaptureContext, equipment: Equipment, identity_of, tmp_path: Path
) -> None:
    chosen = (reference(), reference(3, 5), Reference("1.2.9", "1.2.9.1", STILL, new_uid()))
    keys = KeyObjects(chosen, FOR_CONFERENCE, "二尖瓣反流", "Li^Si=李^四")
    path = tmp_path / "ko.dcm"
    ds = judged(build_key_objects(keys, context, identity_of("keys"), equipment), path)
    assert ds.ConceptNameCodeSequence[0].CodeValue == "113005"
    assert ds.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    assert [len(one.ReferencedSeriesSequence) for one in ds.CurrentRequestedProcedureEvidenceSequence] == [1, 1]
    shown = subprocess.run(
        [need("dsr2html", "dcmtk"), str(path)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "二尖瓣反流" in shown
    with pytest.raises(DicomInvalid):
        KeyObjects(())


MM = Code("mm", "UCUM", "millimeter")
LENGTH = Code("410668003", "SCT", "Length")


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("verified", [False, True])
def test_a_report_says_what_was_written_measured_and_seen(
    measured: bool, verified: bool, context: CaptureContext, equipment: Equipment, captured_at: datetime, identity_of,
    tmp_path: Path,
) -> None:  # fmt: skip
    seen = reference(2)
    found = Section(
        "findings", ("左室射血分数正常。", "Mild regurgitation.\nNo effusion."),
        (Measurement(LENGTH, 12.3456789, MM, seen),) if measured else (), (seen,),
    )  # fmt: skip
    report = Report(
        (Section("history", ("胸痛三天",)), found, Section("impressions", ("建议随访",))), "Wang^Wu=王^五",
        verified=Verification("Wang^Wu=王^五", "一院", captured_at) if verified else None,
    )  # fmt: skip
    path = tmp_path / "sr.dcm"
    ds = judged(build_report(report, context, identity_of("r"), equipment), path)
    assert ds.SOPClassUID.name == ("Comprehensive SR Storage" if measured else "Basic Text SR Storage")
    assert ds.VerificationFlag == ("VERIFIED" if verified else "UNVERIFIED")
    shown = subprocess.run(
        [need("dsr2html", "dcmtk"), str(path)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "左室射血分数正常" in shown
    assert ("12.3456789" in shown) is measured


def test_a_report_without_words_is_refused() -> None:
    with pytest.raises(DicomInvalid):
        Report((Section("findings"),), "A")


@given(st.floats(-1e300, 1e300, allow_subnormal=False))
def test_a_measured_number_fits_a_decimal_string(value: float) -> None:
    words = _decimal(value)
    assert len(words) <= 16
    assert float(words) == pytest.approx(value, rel=1e-5, abs=1e-300)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)), max_size=20))
def test_evidence_names_every_instance_once(chosen: list[tuple[int, int, int]]) -> None:
    given_ = [Reference(f"1.{a}", f"1.{a}.{b}", STILL, f"1.{a}.{b}.{c}") for a, b, c in chosen]
    named = [
        one.ReferencedSOPInstanceUID
        for study in evidence(given_) for series in study.ReferencedSeriesSequence for one in series.ReferencedSOPSequence
    ]  # fmt: skip
    assert sorted(named) == sorted({one.sop_instance_uid for one in given_})


def test_a_calibrated_capture_states_its_pixel_spacing(
    picture: NDArray[np.uint8], context: CaptureContext, equipment: Equipment, captured_at: datetime, tmp_path: Path
) -> None:
    def still(modality: str, calibration: Calibration | None) -> bytes:
        return build_still(
            picture, context.model_copy(update={"modality": modality}), sop_instance_uid=new_uid(),
            series_uid=new_uid(), captured_at=captured_at, equipment=equipment, instance_number=1, calibration=calibration,
            region=Region(0, 0, 100, 100, 0.01, 0.01),
        )  # fmt: skip

    ds = judged(still("OT", Calibration(0.25, 0.25)), tmp_path / "sc.dcm")
    assert (ds.PixelSpacing, ds.PixelSpacingCalibrationType) == ([0.25, 0.25], "FIDUCIAL")
    assert "PixelSpacing" not in judged(still("OT", None), tmp_path / "sc.dcm")
    assert "SequenceOfUltrasoundRegions" in judged(still("US", Calibration(0.25, 0.25)), tmp_path / "us.dcm")
    with pytest.raises(DicomInvalid):
        Calibration(0, 1)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def storage_scp(folder: Path) -> Iterator[int]:
    """Run dcmtk's storescp on a free port; it writes what it takes into ``folder``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [need("storescp", "dcmtk"), "-od", str(folder), "+xa", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: answers(port), "storescp listens")
            yield port
        finally:
            server.kill()


def test_what_we_write_can_be_stored_by_another_archive(
    context: CaptureContext, equipment: Equipment, identity_of, tmp_path: Path
) -> None:
    taken, given_ = tmp_path / "taken", tmp_path / "given"
    taken.mkdir()
    given_.mkdir()
    video = Film(made(Made(options=PLAIN)))
    mine = context.model_copy(update={"modality": "ES"})
    written = {
        "video": build_video(video, mine, identity_of("v"), equipment),
        "pdf": build_pdf(Pdf(PDF), context, identity_of("p"), equipment),
        "ko": build_key_objects(KeyObjects((reference(),)), context, identity_of("k"), equipment),
        "sr": build_report(Report((Section("findings", ("ok",)),), "A"), context, identity_of("s"), equipment),
    }
    for name, data in written.items():
        (given_ / f"{name}.dcm").write_bytes(data)
    with storage_scp(taken) as port:
        command = [need("dcmsend", "dcmtk"), "-nh", "+sd", "127.0.0.1", str(port), str(given_)]
        sent = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert sent.returncode == 0, sent.stderr
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in taken.iterdir()}
    assert uids == {read_header(data).sop_instance_uid for data in written.values()}
