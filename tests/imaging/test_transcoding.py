"""Every transfer syntax is stored, listed, retrieved, transcoded and decoded equal to the reference, on either world (PS3.18 8.7.3)."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_dicom.codecs import decode_frame
from consilium_dicom.frames import frame_bytes, index_frames
from consilium_dicom.header import read_header
from consilium_dicom.transcode import EXPLICIT_LE, JPEG_BASELINE, LOSSLESS
from consilium_dicom.uids import transfer_syntax
from consilium_imaging.settings import ImagingSettings
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd files it reads

MEDIA = {
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}


def completed(file: Path) -> bytes:
    """Return a sample with the identifiers that some of them lack, its pixels and transfer syntax as they are."""
    dataset = pydicom.dcmread(file, force=True)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, keyword, new_uid())
    if not dataset.get("SOPClassUID"):
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.PatientID = dataset.get("PatientID") or "P1"
    dataset.Modality = dataset.get("Modality") or "OT"
    dataset.preamble = b"\0" * 128
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def first_frame(data: bytes) -> NDArray[Any]:
    header = read_header(data)
    return decode_frame(header, frame_bytes(data, index_frames(data, header), 0, header))


async def store(client: httpx2.AsyncClient, *files: bytes) -> list[str]:
    body, media = multipart(list(files))
    sent = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    assert sent.status_code == 200, sent.text
    return ["/dicomweb/studies/{}/series/{}/instances/{}".format(*uids_of(file)) for file in files]


def parts(answer: httpx2.Response) -> list[tuple[str, bytes]]:
    """Return (content type, body) of each part."""
    assert answer.status_code == 200, answer.text
    boundary = answer.headers["content-type"].split("boundary=")[1].encode()
    assert answer.content.endswith(b"\r\n--" + boundary + b"--\r\n")
    found = []
    for chunk in answer.content.split(b"\r\n--" + boundary)[1:-1]:
        head, _, body = chunk.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().strip().splitlines())
        found.append((lines["Content-Type"], body))
    return found


async def _alone(client: httpx2.AsyncClient, path: str, syntax: str = "") -> httpx2.Response:
    accept = f"application/dicom; transfer-syntax={syntax}" if syntax else "application/dicom"
    return await client.get(path, headers={"Accept": accept})


async def test_every_syntax_stored_listed_retrieved_transcoded_and_decoded(
    client: httpx2.AsyncClient, shared_data: Path
) -> None:
    files = sorted((shared_data / "transfer_syntaxes").glob("*.dcm"))
    assert len(files) == 27
    for file in files:
        data = completed(file)
        [path] = await store(client, data)
        stored = read_header(data).transfer_syntax_uid
        reference = first_frame(data)
        [listed] = (await client.get(path.split("/instances/")[0] + "/instances")).json()
        assert listed["00280010"]["Value"] == [reference.shape[0]]
        assert (await _alone(client, path, "*")).content == data
        assert (await _alone(client, path, stored)).content == data
        known = transfer_syntax(stored)
        assert known is not None
        unasked = await _alone(client, path)
        given = unasked.headers["content-type"].split("transfer-syntax=")[1]
        assert given == (stored if known.lossy else EXPLICIT_LE), file.name
        for syntax in (EXPLICIT_LE, *LOSSLESS):
            made = await _alone(client, path, syntax)
            assert made.status_code == 200, made.text
            assert made.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
            told = pydicom.dcmread(io.BytesIO(made.content))
            assert told.file_meta.TransferSyntaxUID == syntax
            assert np.array_equal(told.pixel_array, reference), (file.name, syntax)
            assert np.array_equal(first_frame(made.content), reference), (file.name, syntax)
        await _check_frames(client, path, data, reference)


async def _check_frames(client: httpx2.AsyncClient, path: str, data: bytes, reference: NDArray[Any]) -> None:
    header = read_header(data)
    plain = await client.get(
        f"{path}/frames/1", headers={"Accept": f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"}
    )
    assert plain.content == reference.astype(reference.dtype.newbyteorder("<")).tobytes()
    for syntax, media in MEDIA.items():
        accept = {"Accept": f'multipart/related; type="{media}"; transfer-syntax={syntax}'}
        [(content_type, body)] = parts(await client.get(f"{path}/frames/1", headers=accept))
        assert content_type == f"{media}; transfer-syntax={syntax}"
        coded = replace(header, transfer_syntax_uid=syntax, pixel_length=None)
        if header.photometric.startswith("YBR"):
            coded = replace(coded, photometric="RGB")
        assert np.array_equal(decode_frame(coded, body), reference), (path, syntax)


@pytest.mark.parametrize(
    "name", ["cine/dcm4che_US-PAL-8-10x-echo.dcm", "enhanced/emri_small.dcm", "cine/examples_ybr_color.dcm"]
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.202"])
async def test_a_cine_goes_frame_by_frame(
    embedded: httpx2.AsyncClient, shared_data: Path, name: str, syntax: str
) -> None:
    data = (shared_data / name).read_bytes()
    [path] = await store(embedded, data)
    answer = await _alone(embedded, path, syntax)
    told = pydicom.dcmread(io.BytesIO(answer.content))
    header = read_header(data)
    index = index_frames(data, header)
    assert int(told.NumberOfFrames) == index.count
    for number, theirs in enumerate(told.pixel_array):
        assert np.array_equal(decode_frame(header, frame_bytes(data, index, number, header)), theirs)
    [(content_type, body)] = parts(
        await embedded.get(
            path, headers={"Accept": f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'}
        )
    )
    assert content_type == f"application/dicom; transfer-syntax={syntax}"
    assert body == answer.content


async def test_each_part_of_a_mixed_study_goes_as_it_can(embedded: httpx2.AsyncClient, shared_data: Path) -> None:
    study = new_uid()
    ct = ct_instance(side=16, StudyInstanceUID=study)
    files = [ct]
    for name in ("other/liver_1frame.dcm", "other/test-SR.dcm", "cine/dcm4che_US-PAL-8-10x-echo.dcm"):
        dataset = pydicom.dcmread(shared_data / name)
        dataset.StudyInstanceUID, dataset.PatientID = study, "P1"
        dataset.PatientName = "Wang^Xiaodong"
        out = io.BytesIO()
        dataset.save_as(out)
        files.append(out.getvalue())
    await store(embedded, *files)
    syntax = "1.2.840.10008.1.2.4.80"
    answer = await embedded.get(
        f"/dicomweb/studies/{study}",
        headers={"Accept": f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'},
    )
    found = {str(pydicom.dcmread(io.BytesIO(body)).SOPClassUID): kind.split("=")[1] for kind, body in parts(answer)}
    assert found["1.2.840.10008.5.1.4.1.1.2"] == syntax
    assert found["1.2.840.10008.5.1.4.1.1.3.1"] == syntax
    assert found["1.2.840.10008.5.1.4.1.1.66.4"] == EXPLICIT_LE  # single bits are not compressed
    assert found["1.2.840.10008.5.1.4.1.1.88.33"] == EXPLICIT_LE


async def test_what_has_no_such_form_is_refused_with_the_reason(
    embedded: httpx2.AsyncClient, shared_data: Path
) -> None:
    [bits] = await store(embedded, (shared_data / "other" / "liver_1frame.dcm").read_bytes())
    for accept in ("application/dicom", 'multipart/related; type="application/dicom"'):
        refused = await embedded.get(bits, headers={"Accept": f"{accept}; transfer-syntax=1.2.840.10008.1.2.4.80"})
        assert refused.status_code == 406
        assert "1 bits" in refused.json()["detail"]
    refused = await embedded.get(f"{bits}/frames/1", headers={"Accept": "image/jls"})
    assert (refused.status_code, refused.json()["code"]) == (406, "not-acceptable")


async def test_lossy_jpeg_only_by_name_and_where_it_is_allowed(platform: Platform, shared_data: Path) -> None:
    data = (shared_data / "transfer_syntaxes" / "examples_rgb_color.dcm").read_bytes()
    asked = {"Accept": f"image/jpeg; transfer-syntax={JPEG_BASELINE}"}
    for lossy, status in ((True, 200), (False, 406)):
        async with (
            archive_door(platform, imaging=ImagingSettings(lossy=lossy)) as door,
            door_client(door, bearer(platform, Role.ADMIN)) as client,
        ):
            [path] = await store(client, data)
            assert (await client.get(f"{path}/frames/1", headers=asked)).status_code == status
            assert (await _alone(client, path, JPEG_BASELINE)).status_code == status
            unnamed = await client.get(f"{path}/frames/1", headers={"Accept": "image/jpeg"})
            assert unnamed.headers["content-type"].endswith("1.2.840.10008.1.2.4.70")


async def test_a_transcoded_answer_has_a_tag_of_its_own(embedded: httpx2.AsyncClient) -> None:
    [path] = await store(embedded, ct_instance(side=16))
    plain, coded = await _alone(embedded, path), await _alone(embedded, path, "1.2.840.10008.1.2.4.80")
    assert plain.headers["etag"] != coded.headers["etag"]
    again = await embedded.get(
        path,
        headers={
            "Accept": "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80",
            "If-None-Match": coded.headers["etag"],
        },
    )
    assert (again.status_code, again.content) == (304, b"")
