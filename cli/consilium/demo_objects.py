"""The demo patient's earlier pictures: real ultrasound and CT that the pydicom wheels ship, under the demo patient's name."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID

from consilium_core.ids import uid_from

_OBJECTS = (
    # file, study, date, study description, series description
    ("color3d_jpeg_baseline.dcm", "echo", "20260421", "Echocardiography, prior", "Parasternal long axis, colour"),
    ("examples_rgb_color.dcm", "echo", "20260421", "Echocardiography, prior", "Apical view"),
    ("CT_small.dcm", "ct", "20251102", "CT thorax, prior", "Axial"),
)


def prior_objects(patient_id: str, name: str, birth_date: str, sex: str) -> list[bytes]:
    """Return Part 10 files with the same UIDs at every call, so that seeding twice stores nothing new."""
    return [
        _object(number, *facts, patient=(patient_id, name, birth_date, sex)) for number, facts in enumerate(_OBJECTS)
    ]


def prior_uids() -> list[str]:
    """Return the SOP Instance UIDs of ``prior_objects``, in its order."""
    return [uid_from("demo-prior", f"object/{number}") for number in range(len(_OBJECTS))]


def _object(
    number: int, file: str, study: str, date: str, description: str, series: str, *, patient: tuple[str, str, str, str]
) -> bytes:
    path = get_testdata_file(file, download=False)
    if path is None:
        raise FileNotFoundError(f"{file} is not installed: the demo needs the packages pydicom and pydicom-data.")
    dataset: Dataset = dcmread(str(path))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = patient
    dataset.IssuerOfPatientID = "DEMO"  # the demo room's: the same number from two issuers is two patients
    dataset.PatientAge = dataset.get("PatientAge", "062Y")
    dataset.StudyInstanceUID = uid_from("demo-prior", study)
    dataset.SeriesInstanceUID = uid_from("demo-prior", f"{study}/{number}")
    dataset.SOPInstanceUID = UID(prior_uids()[number])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = date
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "093000"
    dataset.StudyDescription, dataset.SeriesDescription = description, series
    dataset.SeriesNumber, dataset.InstanceNumber = number + 1, 1
    dataset.AccessionNumber = f"DEMO-P{study.upper()}"
    for keyword in ("OtherPatientIDs", "PatientAddress", "ReferringPhysicianName", "InstitutionName"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.ReferringPhysicianName = ""
    output = BytesIO()
    dataset.save_as(output, enforce_file_format=True)
    return output.getvalue()
