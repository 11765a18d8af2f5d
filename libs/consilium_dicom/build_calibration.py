"""What is known of the size of a pixel: an ultrasound screen's regions have their own module, other captures say it here.

Nothing is written for a picture that nobody calibrated: a length measured on it would be a guess (PS3.3 10.7.1.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydicom.dataset import Dataset

from consilium_dicom.errors import DicomInvalid


@dataclass(frozen=True, slots=True)
class Calibration:
    """The distance between the centres of neighbouring pixels in mm, and how it came to be known.

    ``kind``: GEOMETRY (a known geometry was assumed) or FIDUCIAL (an object of known size was in the picture).
    """

    row_spacing_mm: float
    column_spacing_mm: float
    kind: Literal["GEOMETRY", "FIDUCIAL"] = "FIDUCIAL"
    description: str = "object of known size"

    def __post_init__(self) -> None:
        """Refuse what is no distance."""
        if not (0 < self.row_spacing_mm < 1e4 and 0 < self.column_spacing_mm < 1e4):
            raise DicomInvalid("a pixel spacing is a positive number of mm")


def calibrate(ds: Dataset, calibration: Calibration) -> None:
    """Add the Basic Pixel Spacing Calibration macro (PS3.3 10.7), which Secondary Capture objects include."""
    ds.PixelSpacing = [f"{calibration.row_spacing_mm:.8g}", f"{calibration.column_spacing_mm:.8g}"]
    ds.PixelSpacingCalibrationType = calibration.kind
    ds.PixelSpacingCalibrationDescription = calibration.description[:64]
