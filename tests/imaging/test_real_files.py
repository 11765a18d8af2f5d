"""Real files of every kind: stored, listed, framed and drawn as an independent decoder sees them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
import pydicom
import pytest

CINES = {
    "cine/color3d_jpeg_baseline.dcm": 120,
    "cine/fo_DIRW0007.dcm": 65,
    "cine/dcm4che_US-PAL-8-10x-echo.dcm": 10,
    "cine/OBXXXX1A_rle_2frame.dcm": 2,
    "enhanced/emri_small.dcm": 10,
}
STILLS = [
    "ct_lidc0314_orig10/000001.dcm",
    "transfer_syntaxes/JPGLosslessP14SV1_1s_1f_8b.dcm",
    "transfer_syntaxes/examples_rgb_color.dcm",
    "transfer_syntaxes/image_dfl.dcm",
    "transfer_syntaxes/CTImage.dcm_JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm",
    "transfer_syntaxes/CTImage.dcm_BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
]


async def store(client: httpx2.AsyncClient, file: Path) -> str:
    sent = await client.post(
        "/dicomweb/studies", content=file.read_bytes(), headers={"Content-Type": "application/dicom"}
    )
    assert sent.status_code == 200, sent.text
    found = sent.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return str(httpx2.URL(found).path)


def image(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("name", CINES)
async def test_a_cine_is_listed_framed_and_drawn(embedded: httpx2.AsyncClient, shared_data: Path, name: str) -> None:
    frames = CINES[name]
    path = await store(embedded, shared_data / name)
    [listed] = (await embedded.get(path.split("/instances/")[0] + "/instances")).json()
    assert listed["00280008"]["Value"] == [frames]
    for number in (1, frames):
        frame = await embedded.get(f"{path}/frames/{number}")
        drawn = await embedded.get(f"{path}/frames/{number}/rendered", headers={"Accept": "image/png"})
        assert (frame.status_code, drawn.status_code) == (200, 200)
        rows, columns = listed["00280010"]["Value"][0], listed["00280011"]["Value"][0]
        assert image(drawn.content).shape[:2] == (rows, columns)
    assert (await embedded.get(f"{path}/frames/{frames + 1}")).status_code == 404
    thumbnail = image((await embedded.get(f"{path}/thumbnail")).content)
    middle = await embedded.get(f"{path}/frames/{frames // 2 + 1}/thumbnail")
    assert (thumbnail == image(middle.content)).all()
    assert max(thumbnail.shape[:2]) <= 256
    worklist = (await embedded.get("/api/v1/imaging/worklist")).json()["items"]
    assert worklist[0]["instances"] == 1


async def test_a_colour_cine_looks_like_its_decoded_frames(embedded: httpx2.AsyncClient, shared_data: Path) -> None:
    file = shared_data / "cine" / "examples_ybr_color.dcm"
    path = await store(embedded, file)
    dataset = pydicom.dcmread(file)
    for number in (1, 17):
        drawn = image((await embedded.get(f"{path}/frames/{number}/rendered", headers={"Accept": "image/png"})).content)
        oracle = dataset.pixel_array[number - 1]  # pydicom 3 converts YBR to RGB
        assert np.abs(drawn[..., ::-1].astype(int) - oracle.astype(int)).mean() < 3


@pytest.mark.parametrize("name", STILLS)
async def test_native_frames_are_what_pydicom_decodes(
    embedded: httpx2.AsyncClient, shared_data: Path, name: str
) -> None:
    path = await store(embedded, shared_data / name)
    accept = {"Accept": "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"}
    frame = await embedded.get(f"{path}/frames/1", headers=accept)
    assert frame.status_code == 200, frame.text
    oracle = pydicom.dcmread(shared_data / name).pixel_array
    assert frame.content[: oracle.nbytes] == oracle.astype(oracle.dtype.newbyteorder("<")).tobytes()
    assert (await embedded.get(f"{path}/rendered")).status_code == 200


async def test_chinese_names_are_found_in_their_own_characters(embedded: httpx2.AsyncClient, shared_data: Path) -> None:
    for name in ("charsets/chrX1.dcm", "charsets/chrX2.dcm", "charsets/chrH31.dcm", "charsets/chrI2.dcm"):
        await store(embedded, shared_data / name)
    for asked, family in (
        ("王*", "Wang"),
        ("*小东", "Wang"),
        ("山田^太郎", "Yamada"),
        ("洪*", "Hong"),
        ("wang*", "Wang"),
    ):
        found = (await embedded.get("/dicomweb/studies", params={"PatientName": asked})).json()
        assert found, asked
        assert {one["00100010"]["Value"][0]["Alphabetic"].split("^")[0] for one in found} == {family}


async def test_metadata_of_real_files_is_read_by_pydicom(embedded: httpx2.AsyncClient, shared_data: Path) -> None:
    for name in ("enhanced/d2n_siemens_enhanced_anat.dcm", "other/test-SR.dcm", "ct_lidc0314_orig10/000029.dcm"):
        path = await store(embedded, shared_data / name)
        [model] = (await embedded.get(f"{path}/metadata")).json()
        told = pydicom.Dataset.from_json(model, bulk_data_uri_handler=lambda _uri: b"")
        own = pydicom.dcmread(BytesIO((shared_data / name).read_bytes()))
        assert told.SOPInstanceUID == own.SOPInstanceUID
        assert told.keys() == {tag for tag in own.keys() if tag.element != 0}  # noqa: SIM118 - group lengths are left out
