"""The lean JSON text says what the model says, on every real file at hand and on what hypothesis makes."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pydicom.data
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from consilium_dicom.errors import DicomInvalid
from consilium_dicom.header import header_of
from consilium_dicom.json_model import to_json_model
from consilium_dicom.json_text import to_json_text
from consilium_dicom.scan import scan
from consilium_testkit.instances import ct_instance

BASE = "/dicomweb/studies/1/series/2/instances/3/bulkdata"


def same(data: bytes) -> bool:
    """Compare both; False if the file is none that the model can read."""
    try:
        source = scan(data)
        header = header_of(source)
        expected = to_json_model(data, header, BASE, source=source)
    except DicomInvalid:
        return False
    text = to_json_text(source, header, BASE)
    assert json.loads(text) == json.loads(json.dumps(expected))
    assert list(json.loads(text)) == list(expected)
    return True


def test_every_file_that_pydicom_ships_has_the_models_text() -> None:
    folder = Path(pydicom.data.__file__).parent / "test_files"
    files = [path for path in sorted(folder.rglob("*.dcm")) if path.stat().st_size < 4 << 20]
    assert sum(same(path.read_bytes()) for path in files) > 50


def test_every_real_file_has_the_models_text(shared_data: Path) -> None:
    files = [path for path in sorted(shared_data.rglob("*.dcm")) if path.stat().st_size < 4 << 20]
    assert sum(same(path.read_bytes()) for path in files) > 50


@settings(deadline=None, max_examples=80)
@given(st.text(max_size=70), st.lists(st.text(max_size=12), max_size=4), st.binary(max_size=200), st.floats())
def test_made_values_have_the_models_text(text: str, several: list[str], raw: bytes, number: float) -> None:
    data = ct_instance(side=4)
    dataset = dcmread(BytesIO(data))
    plain = text.replace("\\", "").replace("\0", "")
    dataset.add_new(0x00104000, "LT", plain)
    dataset.add_new(0x00091001, "LO", [part.replace("\\", "") for part in several])
    dataset.add_new(0x00090010, "LO", "SOMEBODY")
    dataset.add_new(0x00091002, "OB", raw)
    dataset.add_new(0x00189306, "FD", number)
    out = BytesIO()
    dataset.save_as(out)
    assert same(out.getvalue())
