"""An independent DICOMweb client stores, searches and retrieves over a real server; dcmtk reads what is stored."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
import pydicom
import pytest
import pytest_asyncio
import requests
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session

from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_server
from consilium_testkit.instances import ct_instance
from consilium_testkit.platforms import token
from consilium_testkit.servers import need


@pytest_asyncio.fixture
async def dicomweb(platform: Platform) -> AsyncIterator[DICOMwebClient]:
    """Yield a client of a served archive; call it from a thread."""
    async with archive_door(platform) as door, door_server(door) as url:
        session = create_session()
        session.trust_env = False
        headers = {"Authorization": f"Bearer {token(platform, Role.ADMIN)}"}
        yield DICOMwebClient(f"{url}/dicomweb", session=session, headers=headers)
        session.close()


async def test_store_search_retrieve(dicomweb: DICOMwebClient) -> None:
    study, series = new_uid(), new_uid()
    files = [
        ct_instance(side=32, StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=n + 1) for n in range(3)
    ]
    datasets = [pydicom.dcmread(BytesIO(file)) for file in files]

    def talk() -> None:
        stored = dicomweb.store_instances(datasets)
        assert len(stored.ReferencedSOPSequence) == 3
        assert "FailedSOPSequence" not in stored
        [found] = dicomweb.search_for_studies(search_filters={"PatientID": "P1", "ModalitiesInStudy": "CT"}, limit=10)
        assert found["0020000D"]["Value"] == [study]
        assert dicomweb.search_for_studies(search_filters={"PatientID": "nobody"}) == []
        [one] = dicomweb.search_for_series(study, fields=["0008103E"])
        assert one["0020000E"]["Value"] == [series]
        instances = dicomweb.search_for_instances(study, series)
        assert [i["00200013"]["Value"] for i in instances] == [[1], [2], [3]]
        sop = instances[1]["00080018"]["Value"][0]
        read = dicomweb.retrieve_instance(study, series, sop)
        assert (read.pixel_array == datasets[1].pixel_array).all()
        assert len(dicomweb.retrieve_series(study, series)) == 3
        assert len(dicomweb.retrieve_study(study)) == 3
        metadata = dicomweb.retrieve_series_metadata(study, series)
        assert pydicom.Dataset.from_json(metadata[2], bulk_data_uri_handler=lambda _uri: b"").InstanceNumber == 3
        assert dicomweb.retrieve_study_metadata(study) == metadata
        [frame] = dicomweb.retrieve_instance_frames(study, series, sop, [1])
        assert frame == datasets[1].PixelData
        assert dicomweb.retrieve_instance_rendered(study, series, sop).startswith(b"\xff\xd8")
        png = dicomweb.retrieve_instance_frames_rendered(study, series, sop, [1], media_types=("image/png",))
        assert png.startswith(b"\x89PNG")

    await asyncio.to_thread(talk)


async def test_bulk_data_uris_are_relative_to_the_metadata_they_stand_in(dicomweb: DICOMwebClient) -> None:
    """RFC 3986 5.2, as PS3.18 F.2.6 allows; this client leaves the resolving to its caller (docs/dicom-conformance.md)."""
    file = ct_instance(side=32)
    dataset = pydicom.dcmread(BytesIO(file))
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)

    def talk() -> None:
        dicomweb.store_instances([dataset])
        uri = dicomweb.retrieve_instance_metadata(*uids)["7FE00010"]["BulkDataURI"]
        study, series, instance = uids
        assert uri == f"/dicomweb/studies/{study}/series/{series}/instances/{instance}/bulkdata/7FE00010"
        with pytest.raises(requests.exceptions.MissingSchema):
            dicomweb.retrieve_bulkdata(uri)
        address = f"{dicomweb.base_url}/studies/{study}/series/{series}/instances/{instance}/metadata"
        [value] = dicomweb.retrieve_bulkdata(urljoin(address, uri))
        assert value == dataset.PixelData

    await asyncio.to_thread(talk)


async def test_a_cine_frame_by_frame(dicomweb: DICOMwebClient, shared_data: Path) -> None:
    file = shared_data / "cine" / "examples_ybr_color.dcm"
    dataset = pydicom.dcmread(file)
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)

    def talk() -> None:
        dicomweb.store_instances([dataset])
        codes = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=30))
        frames = dicomweb.retrieve_instance_frames(
            *uids, [1, 30], media_types=(("image/jpeg", "1.2.840.10008.1.2.4.50"),)
        )
        assert [frame.rstrip(b"\0") for frame in frames] == [codes[0].rstrip(b"\0"), codes[29].rstrip(b"\0")]
        [plain] = dicomweb.retrieve_instance_frames(*uids, [2], media_types=("application/octet-stream",))
        rgb = np.frombuffer(plain, np.uint8).reshape(dataset.Rows, dataset.Columns, 3)
        oracle = dataset.pixel_array[1]  # pydicom 3 converts YBR to RGB
        assert np.abs(rgb.astype(int) - oracle.astype(int)).mean() < 3

    await asyncio.to_thread(talk)


async def test_an_independent_client_gets_what_it_asks_for(dicomweb: DICOMwebClient, shared_data: Path) -> None:
    [file] = (shared_data / "transfer_syntaxes").glob("CTImage*4.80.dcm")
    dataset = pydicom.dcmread(file)
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    pixels = dataset.pixel_array

    def talk() -> None:
        dicomweb.store_instances([dataset])
        stored = dicomweb.retrieve_instance(*uids)  # the client asks for ``transfer-syntax=*``
        assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.80"
        for syntax in (
            "1.2.840.10008.1.2.1",
            "1.2.840.10008.1.2.4.80",
            "1.2.840.10008.1.2.4.90",
            "1.2.840.10008.1.2.4.70",
            "1.2.840.10008.1.2.5",
        ):
            told = dicomweb.retrieve_instance(*uids, media_types=(("application/dicom", syntax),))
            assert told.file_meta.TransferSyntaxUID == syntax
            assert (told.pixel_array == pixels).all()
        [frame] = dicomweb.retrieve_instance_frames(*uids, [1], media_types=("application/octet-stream",))
        assert frame == pixels.astype("<i2").tobytes()
        [coded] = dicomweb.retrieve_instance_frames(*uids, [1], media_types=(("image/jp2", "1.2.840.10008.1.2.4.90"),))
        assert coded.startswith(b"\xff\x4f\xff\x51")

    await asyncio.to_thread(talk)


async def test_dcm2json_reads_what_is_stored_and_says_the_same_as_the_metadata(
    dicomweb: DICOMwebClient, tmp_path: Path
) -> None:
    need("dcm2json", "dcmtk")
    dataset = pydicom.dcmread(BytesIO(ct_instance(side=16)))
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)

    def talk() -> None:
        dicomweb.store_instances([dataset])
        file = tmp_path / "stored.dcm"
        dicomweb.retrieve_instance(*uids).save_as(file, enforce_file_format=True)
        told = json.loads(subprocess.run(["dcm2json", str(file)], check=True, capture_output=True).stdout)
        ours = dicomweb.retrieve_instance_metadata(*uids)
        for tag in ("00080018", "00100010", "00100020", "0020000D", "00280010", "00280030", "00281050"):
            assert ours[tag]["Value"] == told[tag]["Value"], tag
        assert ours.keys() == told.keys()

    await asyncio.to_thread(talk)
