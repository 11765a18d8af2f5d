"""Every transfer syntax comes in as it is sent and goes out byte for byte the same data set (PS3.5 annex A, PS3.4 B.3)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydicom import dcmread
from pydicom.filewriter import dcmwrite

from consilium_core.ids import new_uid
from consilium_ingest.dimse.server import DimseServer
from consilium_testkit.instances import uids_of
from consilium_testkit.light_scu import associated, data_set_of


async def read_back(client: httpx2.AsyncClient, study: str, series: str, sop: str) -> bytes:
    """Return the stored Part 10 file of the instance."""
    path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"
    answer = await client.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200, answer.text
    return answer.content


def identified(path: Path, number: int) -> bytes:
    """Return the file under a SOP Instance UID of its own; bare codec samples get the UIDs that they lack."""
    file = path.read_bytes()
    found = dcmread(BytesIO(file), force=True)
    if "StudyInstanceUID" in found:
        sop = str(found.SOPInstanceUID)
        return file.replace(sop.encode(), f"{sop[:-3]}{500 + number}".encode())  # a deflated data set keeps its own
    found.SOPInstanceUID, found.StudyInstanceUID, found.SeriesInstanceUID = new_uid(), new_uid(), new_uid()
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    out = BytesIO()
    dcmwrite(out, found, enforce_file_format=True)
    return out.getvalue()


async def test_every_file_is_stored_and_read_back_as_it_was_sent(
    shared_data: Path, server: DimseServer, client: httpx2.AsyncClient
) -> None:
    paths = sorted((shared_data / "transfer_syntaxes").glob("*.dcm"))
    assert len(paths) >= 25
    for number, path in enumerate(paths):
        file = identified(path, number)
        sop_class, sop, syntax, data_set = data_set_of(file)
        async with associated(server.port, [(sop_class, [syntax])]) as scu:
            assert scu.accepted[1] == (0, syntax), path.name
            assert await scu.store(1, sop_class, sop, data_set, size=60000) == 0, path.name
            await scu.release()
        kept = await read_back(client, *uids_of(file))
        assert data_set_of(kept) == (sop_class, sop, syntax, data_set), path.name


@pytest.mark.parametrize(
    ("suffix", "option"),
    [
        ("LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2", "-xi"),
        ("LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1", "-xe"),
        ("BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2", "-xb"),
        ("DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99", "-xd"),
        ("JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50", "-xy"),
        ("JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51", "-xx"),
        ("JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70", "-xs"),
        ("JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80", "-xt"),
        ("JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81", "-xu"),
        ("JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90", "-xv"),
        ("JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91", "-xw"),
        ("RLELosslessTransferSyntax_1.2.840.10008.1.2.5", "-xr"),
    ],
)
async def test_storescu_stores_what_it_proposes(
    shared_data: Path, server: DimseServer, client: httpx2.AsyncClient, dcmtk: Any, suffix: str, option: str
) -> None:
    file = shared_data / "transfer_syntaxes" / f"CTImage.dcm_{suffix}.dcm"
    status, said = await dcmtk("storescu", option, "-aec", "CONSILIUM", "127.0.0.1", str(server.port), file)
    assert status == 0, said
    kept = await read_back(client, *uids_of(file.read_bytes()))
    assert data_set_of(kept)[2] == suffix.rsplit("_", 1)[1]


async def test_dcmsend_stores_a_folder_in_the_syntaxes_it_holds(
    shared_data: Path, server: DimseServer, client: httpx2.AsyncClient, dcmtk: Any
) -> None:
    names = (
        "Arab",
        "Fren",
        "Germ",
        "Greek",
        "H31",
        "H32",
        "Hbrw",
        "I2",
        "Russ",
        "X1",
        "X2",
    )  # dcmtk rewrites the others
    files = [shared_data / "charsets" / f"chr{name}.dcm" for name in names]
    status, said = await dcmtk("dcmsend", "-v", "127.0.0.1", str(server.port), *files)
    assert status == 0, said
    for path in files:
        kept = await read_back(client, *uids_of(path.read_bytes()))
        assert dcmread(BytesIO(kept)) == dcmread(path), path.name


async def test_echoscu_gets_its_echo(server: DimseServer, dcmtk: Any) -> None:
    status, said = await dcmtk("echoscu", "-v", "-aec", "CONSILIUM", "127.0.0.1", str(server.port))
    assert status == 0, said
    assert "Received Echo Response (Success)" in said
