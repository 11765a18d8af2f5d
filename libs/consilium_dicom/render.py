"""Turn one stored frame into samples, and samples into a picture for a screen (PS3.3 C.7.6.3, C.11.1, C.11.2).

``decode_frame`` gives stored values; ``render`` applies modality LUT, window, inversion, palette or colour conversion,
fits the picture into a viewport and encodes it as JPEG or PNG. Both are CPU work of milliseconds: run them in a thread.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from consilium_dicom.codecs import decode_frame
from consilium_dicom.errors import DicomInvalid, Undecodable
from consilium_dicom.functional_groups import FrameLook
from consilium_dicom.header import Header
from consilium_dicom.jpeg_stream import jpeg_shape
from consilium_dicom.luts import PixelTables, apply_linear, apply_palette, apply_voi, default_window

__all__ = ["Picture", "decode_frame", "encode_picture", "passes_through", "render", "render_samples", "to_display"]

Format = Literal["jpeg", "png"]
Window = tuple[float, float]
VoiFunction = Literal["linear", "linear-exact", "sigmoid"]
Picture = NDArray[np.uint8]


def render(
    frame: bytes,
    header: Header,
    *,
    window: Window | None = None,
    voi_function: VoiFunction | None = None,
    viewport: tuple[int, int] | None = None,
    fmt: Format = "jpeg",
    quality: int = 90,
    tables: PixelTables | None = None,
    frame_number: int = 0,
) -> bytes:
    """Return one stored frame as a JPEG or PNG file.

    ``window`` is (center, width) in modality units and counts for grey images only. ``viewport`` is (width, height): the
    picture is shrunk to fit, never enlarged, its aspect kept. ``tables`` are needed for palette colour and LUTs
    (``luts.read_tables``), and with ``frame_number`` (from 0) for enhanced objects' own rescale per frame. A baseline JPEG in colour passes through untouched when nothing must change.
    """
    if fmt == "jpeg" and viewport is None and passes_through(frame, header):
        return frame
    return render_samples(
        decode_frame(header, frame),
        header,
        window=window,
        voi_function=voi_function,
        viewport=viewport,
        fmt=fmt,
        quality=quality,
        tables=tables,
        frame_number=frame_number,
    )


def render_samples(
    samples: NDArray[Any],
    header: Header,
    *,
    window: Window | None = None,
    voi_function: VoiFunction | None = None,
    viewport: tuple[int, int] | None = None,
    fmt: Format = "jpeg",
    quality: int = 90,
    tables: PixelTables | None = None,
    frame_number: int = 0,
) -> bytes:
    """Return decoded samples as a JPEG or PNG file; for callers that cache what ``decode_frame`` gave."""
    chosen = voi_function or _voi_name(header.voi_function)
    picture = to_display(samples, header, window=window, voi_function=chosen, tables=tables, frame_number=frame_number)
    return encode_picture(fit(picture, viewport), fmt=fmt, quality=quality)


def _voi_name(value: str) -> VoiFunction:
    name = value.split("\\", maxsplit=1)[0].strip().upper()
    return "sigmoid" if name == "SIGMOID" else "linear-exact" if name == "LINEAR_EXACT" else "linear"


def passes_through(frame: bytes, header: Header) -> bool:
    """Tell whether the stored code stream is itself the rendered picture: 8 bit baseline JPEG in YBR colour."""
    if header.transfer_syntax_uid != "1.2.840.10008.1.2.4.50" or header.samples_per_pixel != 3:
        return False
    if header.photometric not in {"YBR_FULL_422", "YBR_FULL"}:
        return False
    shape = jpeg_shape(frame)
    return shape.process == 0 and shape.precision == 8 and shape.has_huffman_tables


def to_display(
    samples: NDArray[Any],
    header: Header,
    *,
    window: Window | None = None,
    voi_function: VoiFunction = "linear",
    tables: PixelTables | None = None,
    frame_number: int = 0,
) -> Picture:
    """Return (rows, columns) grey or (rows, columns, 3) RGB, uint8, from stored values.

    Colour samples must already be RGB, as ``decode_frame`` gives them.
    """
    if header.photometric == "PALETTE COLOR":
        return apply_palette(samples, tables)
    if samples.ndim == 3:
        if samples.shape[2] != 3:  # ARGB and CMYK are retired, two planes never were
            raise Undecodable(f"an image of {samples.shape[2]} samples per pixel is no picture")
        return _to_8_bit(samples, header)
    tables = tables or PixelTables()
    look = tables.look(frame_number)
    chosen = window or look.window or _first_window(header)
    plain = voi_function == "linear-exact" or (voi_function == "linear" and chosen is not None and chosen[1] > 1)
    if chosen is not None and plain and tables.modality is None:
        grey = apply_linear(samples, _rescale(header, look), chosen, voi_function)
    else:
        values = _modality_values(samples, header, tables, look)
        if chosen is None and not header.window_width and tables.voi is not None:
            grey = tables.voi.apply_to_8_bit(values)
        else:
            grey = apply_voi(values, chosen or default_window(values, header), voi_function)
    return np.bitwise_not(grey) if header.photometric == "MONOCHROME1" else grey


def _modality_values(
    samples: NDArray[Any], header: Header, tables: PixelTables, look: FrameLook
) -> NDArray[np.float32]:
    """Return modality units: by the modality LUT, the frame's own rescale or the object's (C.11.1, C.7.6.16.2.9)."""
    if tables.modality is not None:
        return tables.modality.apply(samples)
    slope, intercept = _rescale(header, look)
    values: NDArray[np.float32] = samples.astype(np.float32)
    if slope != 1.0:
        values *= np.float32(slope)
    if intercept != 0.0:
        values += np.float32(intercept)
    return values


def _rescale(header: Header, look: FrameLook) -> tuple[float, float]:
    slope = next((s for s in (look.slope, header.rescale_slope) if s is not None), 1.0)
    return slope, next((i for i in (look.intercept, header.rescale_intercept) if i is not None), 0.0)


def _first_window(header: Header) -> Window | None:
    if header.window_center and header.window_width and header.window_width[0] > 0:
        return header.window_center[0], header.window_width[0]
    return None


def _to_8_bit(samples: NDArray[Any], header: Header) -> Picture:
    if samples.dtype == np.uint8:
        return samples
    shift = max((header.bits_stored or 16) - 8, 0)
    return (samples.astype(np.uint32) >> shift).clip(0, 255).astype(np.uint8)


def fit(picture: Picture, viewport: tuple[int, int] | None) -> Picture:
    """Return the picture shrunk into (width, height) with its aspect kept; never enlarged."""
    if viewport is None:
        return picture
    width, height = viewport
    if width < 1 or height < 1:
        raise DicomInvalid("a viewport is at least one pixel wide and high")
    rows, columns = picture.shape[:2]
    scale = min(width / columns, height / rows)
    if scale >= 1:
        return picture
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def encode_picture(picture: Picture, *, fmt: Format = "jpeg", quality: int = 90) -> bytes:
    """Return the picture as a JPEG (4:2:2) or PNG file; grey stays grey."""
    source = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    if fmt == "png":
        done, out = cv2.imencode(".png", source, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    else:
        options = [cv2.IMWRITE_JPEG_QUALITY, min(max(quality, 1), 100)]
        if picture.ndim == 3:
            options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]
        done, out = cv2.imencode(".jpg", source, options)
    if not done:
        raise Undecodable("the picture cannot be encoded")
    return out.tobytes()
