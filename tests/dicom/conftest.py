"""Real DICOM files for the tests: pydicom's own, and a folder of public samples where there is one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from consilium_core.ids import new_uid
from consilium_core.site_protocol import CaptureContext, PatientContext
from consilium_dicom.build import Equipment

_ROOT = Path(__file__).parents[2]
_SHARED = Path(os.environ.get("CONSILIUM_TEST_DATA", _ROOT.parent / "shared" / "data"))
_PYDICOM = Path(pydicom.__file__).parent / "data"


def _files() -> list[Path]:
    """Every real file: pydicom's, and of the public samples all but the long CT series' bulk."""
    found = sorted(_PYDICOM.glob("*_files/*.dcm"))
    if _SHARED.is_dir():
        shared = sorted(_SHARED.rglob("*.dcm"))
        found += [path for path in shared if path.parent.name != "ct_lidc0314" or path.name.endswith("0.dcm")]
    return found


FILES = _files()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give ``real_file`` every real file there is."""
    if "real_file" in metafunc.fixturenames:
        ids = [f"{path.parent.name}/{path.name}" for path in FILES]
        metafunc.parametrize("real_file", FILES, ids=ids)


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Path]:
    """Return the path of a sample by its name below the folder of public samples; skip where it is absent."""

    def find(name: str) -> Path:
        path = _SHARED / name
        if not path.exists():
            pytest.skip(f"public sample {name} is absent (set CONSILIUM_TEST_DATA)")
        return path

    return find


@pytest.fixture(scope="session")
def bundled() -> Callable[[str], bytes]:
    """Return the bytes of one of pydicom's own test files."""
    return lambda name: (_PYDICOM / "test_files" / name).read_bytes()


@pytest.fixture(scope="session")
def oracle() -> Callable[[Path], pydicom.Dataset]:
    """Return pydicom's reading of a file, without its warnings."""

    def read(path: Path) -> pydicom.Dataset:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(path, force=True)

    return read


@pytest.fixture
def context() -> CaptureContext:
    """Return the context of an ultrasound of a patient with a Chinese name."""
    return CaptureContext(
        patient=PatientContext(
            patient_id="P0001", issuer="H1", name="Wang^XiaoDong=王^小东", birth_date="19800131", sex="M"
        ),
        study_uid=new_uid(),
        accession_number="A20260001",
        modality="US",
        study_description="心脏超声",
        referring_physician="Li^Si=李^四",
        operator_name="Zhao^Wu=赵^五",
    )


@pytest.fixture
def equipment() -> Equipment:
    """Return a capture station."""
    return Equipment(manufacturer="consilium", model_name="capture card", station_name="ROOM1", institution_name="一院")


@pytest.fixture
def captured_at() -> datetime:
    """Return a moment in the hospital's own time zone."""
    return datetime(2026, 11, 22, 9, 8, 7, 654321, tzinfo=timezone(timedelta(hours=8)))


@pytest.fixture(scope="session")
def picture() -> NDArray[np.uint8]:
    """Return a picture of odd size whose every region differs: (121, 163, 3) RGB."""
    rows, columns = np.mgrid[0:121, 0:163]
    red, green = rows * 2 % 256, columns * 255 // 162
    blue = np.where((rows // 20 + columns // 20) % 2 == 0, 220, 30)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)
