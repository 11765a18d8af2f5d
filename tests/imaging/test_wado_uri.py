"""WADO-URI for old viewers (PS3.18 9): pictures, files, transfer syntaxes, and who may ask."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
import pydicom
import pytest

from consilium_core.roles import Role
from consilium_gateway.domain.routes import target_of
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer

from .videos import H264, encode, video_instance


async def store(client: httpx2.AsyncClient, file: bytes) -> dict[str, str]:
    """Store the file; return the parameters that name it."""
    body, media = multipart([file])
    sent = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    assert sent.status_code in (200, 202), sent.text
    return {"requestType": "WADO", **dict(zip(("studyUID", "seriesUID", "objectUID"), uids_of(file), strict=True))}


def image(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


async def test_a_still_is_a_jpeg_unless_a_file_is_asked_for(client: httpx2.AsyncClient) -> None:
    file = ct_instance(side=64)
    named = await store(client, file)
    usual = await client.get("/wado", params=named)
    assert (usual.status_code, usual.headers["content-type"]) == (200, "image/jpeg")
    assert image(usual.content).shape == (64, 64)
    asked = await client.get("/wado", params={**named, "contentType": "application/dicom"})
    assert (asked.headers["content-type"], asked.content) == (
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
        file,
    )
    part = await client.get(
        "/wado", params={**named, "contentType": "application/dicom"}, headers={"Range": "bytes=0-9"}
    )
    assert (part.status_code, part.content) == (206, file[:10])
    same = await client.get("/wado", params=named, headers={"If-None-Match": usual.headers["etag"]})
    assert same.status_code == 304


async def test_window_size_frame_and_kind_of_picture(embedded: httpx2.AsyncClient) -> None:
    pixels = np.arange(3 * 64 * 64, dtype="<u2") % 4096
    file = ct_instance(side=64, NumberOfFrames=3, PixelData=pixels.tobytes())
    named = await store(embedded, file)
    path = "/dicomweb/studies/{studyUID}/series/{seriesUID}/instances/{objectUID}".format(**named)
    window = {"windowCenter": "500", "windowWidth": "1000", "frameNumber": "2", "contentType": "image/png"}
    drawn = await embedded.get("/wado", params={**named, **window})
    same = await embedded.get(f"{path}/frames/2/rendered?window=500,1000", headers={"Accept": "image/png"})
    assert drawn.content == same.content
    small = await embedded.get("/wado", params={**named, "contentType": "image/jpeg", "rows": "16"})
    assert image(small.content).shape == (16, 16)
    narrow = await embedded.get(
        "/wado", params={**named, "contentType": "text/html,image/jpeg", "columns": "8", "rows": "16"}
    )
    assert image(narrow.content).shape == (8, 8)
    whole = await embedded.get("/wado", params=named)
    assert whole.headers["content-type"].startswith("application/dicom")  # several frames: the file (9.1.2.2)


async def test_a_frame_that_is_named_is_a_picture(embedded: httpx2.AsyncClient) -> None:
    pixels = np.arange(3 * 64 * 64, dtype="<u2") % 4096
    named = await store(embedded, ct_instance(side=64, NumberOfFrames=3, PixelData=pixels.tobytes()))
    usual = await embedded.get("/wado", params=named)
    assert usual.headers["content-type"].startswith("application/dicom")
    frame = await embedded.get("/wado", params={**named, "frameNumber": "2"})
    assert (frame.status_code, frame.headers["content-type"]) == (200, "image/jpeg")
    path = "/dicomweb/studies/{studyUID}/series/{seriesUID}/instances/{objectUID}".format(**named)
    same = await embedded.get(f"{path}/frames/2/rendered", headers={"Accept": "image/jpeg"})
    assert frame.content == same.content
    huge = await embedded.get(f"{path}/frames/2/rendered", params={"viewport": "99999,99999"})
    assert huge.status_code == 400
    assert "16384" in huge.json()["detail"]
    refused = await embedded.get(path, headers={"Accept": "application/dicom; transfer-syntax=1.2.3"})
    offered = refused.json()["offered"]
    assert refused.status_code == 406
    assert any("1.2.840.10008.1.2.4.80" in one for one in offered)


async def test_the_transfer_syntax_asked_for_or_explicit_little_endian(
    embedded: httpx2.AsyncClient, shared_data: Path
) -> None:
    [name] = (shared_data / "transfer_syntaxes").glob("CTImage*4.90.dcm")
    file = name.read_bytes()
    named = {**await store(embedded, file), "contentType": "application/dicom"}
    reference = pydicom.dcmread(io.BytesIO(file)).pixel_array
    for wanted, given in (
        ("", "1.2.840.10008.1.2.1"),
        ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.80"),
        ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.90"),
        ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.1"),  # what can't be had is given plain (9.1.2.3)
    ):
        answer = await embedded.get("/wado", params={**named, **({"transferSyntax": wanted} if wanted else {})})
        told = pydicom.dcmread(io.BytesIO(answer.content))
        assert told.file_meta.TransferSyntaxUID == given
        assert np.array_equal(told.pixel_array, reference)


async def test_documents_and_videos(embedded: httpx2.AsyncClient, shared_data: Path, tmp_path: Path) -> None:
    report = (shared_data / "other" / "test-SR.dcm").read_bytes()
    named = await store(embedded, report)
    assert (await embedded.get("/wado", params=named)).headers["content-type"].startswith("application/dicom")
    refused = await embedded.get("/wado", params={**named, "contentType": "image/jpeg"})
    assert (refused.status_code, refused.json()["offered"]) == (406, ["application/dicom"])
    video = await store(embedded, video_instance(encode(tmp_path / "clip", "mp4", "libx264"), H264))
    played = await embedded.get("/wado", params={**video, "contentType": "video/mp4"})
    assert (played.status_code, played.headers["content-type"]) == (200, "video/mp4")


async def test_a_stored_pdf_is_shown_as_one(embedded: httpx2.AsyncClient) -> None:
    body = b"%PDF-1.4\n" + b"x" * 3001 + b"%%EOF\n"
    image_module = ("ImageType", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
                    "SamplesPerPixel", "PhotometricInterpretation", "WindowCenter", "WindowWidth", "RescaleIntercept",
                    "RescaleSlope", "PixelSpacing", "SliceThickness", "KVP", "ImagePositionPatient",
                    "ImageOrientationPatient", "FrameOfReferenceUID", "PositionReferenceIndicator")  # fmt: skip
    file = ct_instance(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", Modality="DOC", ConversionType="WSD", BurnedInAnnotation="YES",
        DocumentTitle="Report", MIMETypeOfEncapsulatedDocument="application/pdf", EncapsulatedDocument=body,
        ConceptNameCodeSequence=[], AcquisitionDateTime="", **dict.fromkeys(image_module),
    )  # fmt: skip
    named = await store(embedded, file)
    path = "/dicomweb/studies/{studyUID}/series/{seriesUID}/instances/{objectUID}".format(**named)
    shown = await embedded.get(f"{path}/rendered", headers={"Accept": "application/pdf"})
    assert (shown.headers["content-type"], shown.content) == ("application/pdf", body)
    assert (await embedded.get(f"{path}/rendered", headers={"Accept": "image/jpeg"})).status_code == 406
    old = await embedded.get("/wado", params={**named, "contentType": "application/pdf"})
    assert (old.headers["content-type"], old.content) == ("application/pdf", body)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"requestType": "wado"}, 400),
        ({"studyUID": ""}, 400),
        ({"objectUID": "x"}, 400),
        ({"objectUID": "1.2.3"}, 404),
        ({"anonymize": "yes"}, 400),
        ({"region": "0,0,1,1"}, 400),
        ({"windowCenter": "40"}, 400),
        ({"windowCenter": "nan", "windowWidth": "4"}, 400),
        ({"frameNumber": "0"}, 400),
        ({"frameNumber": "2"}, 404),
        ({"rows": "99999"}, 400),
        ({"imageQuality": "x"}, 400),
        ({"contentType": "text/html"}, 406),
        ({"contentType": "application/dicom", "rows": "10"}, 400),
    ],
)
async def test_what_does_not_fit_is_refused(embedded: httpx2.AsyncClient, changed: dict[str, str], status: int) -> None:
    named = await store(embedded, ct_instance(side=8))
    assert (await embedded.get("/wado", params={**named, **changed})).status_code == status


async def test_roles_tenants_and_the_trail(any_platform: Platform, door: Door, client: httpx2.AsyncClient) -> None:
    named = await store(client, ct_instance(side=8))
    study = named["studyUID"]
    async with door_client(door, bearer(any_platform, Role.SPECIALIST, tenant="other")) as stranger:
        assert (await stranger.get("/wado", params=named)).status_code == 404
    async with door_client(door, bearer(any_platform, Role.TRAINEE)) as trainee:
        assert (await trainee.get("/wado", params=named)).status_code == 403
    async with door_client(door, {}) as nobody:
        assert (await nobody.get("/wado", params=named)).status_code == 401
    async with door_client(door, bearer(any_platform, Role.SPECIALIST)) as viewer:
        for kind in ("image/jpeg", "application/dicom"):
            assert (await viewer.get("/wado", params={**named, "contentType": kind})).status_code == 200
    entries = await any_platform.audit.search("demo", actor="specialist")
    assert [(one["action"], one["subject"]) for one in entries] == [("study.retrieve", study), ("study.view", study)]


def test_the_gateway_leads_to_imaging() -> None:
    assert target_of("GET", "/wado") == "imaging"
    assert target_of("GET", "/wadox") == "web"
