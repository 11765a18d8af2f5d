"""Modules and the SOP classes that hold them: PS3.3 annexes A (IODs) and C (modules), unconditional types 1 and 2 only.

A module is (type 1 tags, type 2 tags). Conditional attributes are left to an independent judge (``dciodvfy`` in the tests): a
condition on other objects or on equipment cannot be decided here. The image pixel macro is judged by ``check_pixels``.
"""

from __future__ import annotations

_S = "1.2.840.10008.5.1.4.1.1."
Module = tuple[frozenset[int], frozenset[int]]


def _module(ones: tuple[int, ...] = (), twos: tuple[int, ...] = ()) -> Module:
    return frozenset(ones), frozenset(twos)


MODULES: dict[str, Module] = {
    # C.7.1.1: name, id, birth date, sex
    "Patient": _module(twos=(0x00100010, 0x00100020, 0x00100030, 0x00100040)),
    # C.7.2.1: date, time, accession number, referring physician, study id
    "General Study": _module((0x0020000D,), (0x00080020, 0x00080030, 0x00080050, 0x00080090, 0x00200010)),
    # C.7.3.1: modality, series; number
    "General Series": _module((0x00080060, 0x0020000E), (0x00200011,)),
    # C.7.4.1
    "Frame of Reference": _module((0x00200052,), (0x00201040,)),
    # C.7.5.1, C.7.5.2: manufacturer; model, serial number, software
    "General Equipment": _module(twos=(0x00080070,)),
    "Enhanced General Equipment": _module((0x00080070, 0x00081090, 0x00181000, 0x00181020)),
    # C.7.6.1
    "General Image": _module(twos=(0x00200013,)),
    # C.7.6.2: position, orientation, spacing; slice thickness
    "Image Plane": _module((0x00200032, 0x00200037, 0x00280030), (0x00180050,)),
    # C.7.6.6: number of frames, increment pointer
    "Multi-frame": _module((0x00280008, 0x00280009)),
    # C.7.6.14
    "Acquisition Context": _module(twos=(0x00400555,)),
    # C.7.6.16: shared and per-frame groups, instance number, content date and time, number of frames
    "Multi-frame Functional Groups": _module((0x52009230, 0x00200013, 0x00080023, 0x00080033, 0x00280008), (0x52009229,)),
    # C.7.6.17
    "Multi-frame Dimension": _module((0x00209221, 0x00209222)),
    # C.8.1.1: body part, view position
    "CR Series": _module(twos=(0x00180015, 0x00185101)),
    # C.8.2.1: image type, rescale; KVP, acquisition number
    "CT Image": _module((0x00080008, 0x00281052, 0x00281053), (0x00180060, 0x00200012)),
    # C.8.3.1: image type, scanning sequence and variant; options, acquisition type, echo time and train
    "MR Image": _module((0x00080008, 0x00180020, 0x00180021), (0x00180022, 0x00180023, 0x00180081, 0x00180091)),
    # C.8.5.6
    "US Image": _module(twos=(0x00080008,)),
    # C.8.6.1, C.8.6.3
    "SC Equipment": _module((0x00080064,)),
    "SC Multi-frame Image": _module((0x00280301,)),
    # C.8.11.1 to C.8.11.4
    "DX Series": _module((0x00080068,)),
    "DX Anatomy Imaged": _module((0x00200062,), (0x00082218,)),
    "DX Image": _module(
        (0x00080008, 0x00200020, 0x00280301, 0x00281040, 0x00281041, 0x00281052, 0x00281053, 0x00281054, 0x00282110, 0x20500020)
    ),
    "DX Detector": _module((0x00181164,), (0x00187004,)),
    # C.8.12.1: image type; lossy compression
    "VL Image": _module((0x00080008,), (0x00282110,)),
    # C.8.13.1, C.8.15.2: image type, LUT shape, pixel presentation, volumetric properties and technique
    "Enhanced MR Image": _module((0x00080008, 0x20500020, 0x00089205, 0x00089206, 0x00089207)),
    "Enhanced CT Image": _module((0x00080008, 0x20500020, 0x00089205, 0x00089206, 0x00089207)),
    # C.17.1: series number; referenced performed procedure step
    "SR Document Series": _module((0x00200011,), (0x00081111,)),
    # C.17.2: instance number, completion, verification, content date and time; performed procedure code
    "SR Document General": _module((0x00200013, 0x0040A491, 0x0040A493, 0x00080023, 0x00080033), (0x0040A372,)),
    # C.17.3: the root: value type, concept name, continuity of content
    "SR Document Content": _module((0x0040A040, 0x0040A043, 0x0040A050)),
    # C.17.6.2: instance number, content date and time, evidence
    "Key Object Document": _module((0x00200013, 0x00080023, 0x00080033, 0x0040A375)),
    # C.24.1, C.24.2
    "Encapsulated Document Series": _module((0x00200011,)),
    "Encapsulated Document": _module(
        (0x00200013, 0x00280301, 0x00420011, 0x00420012), (0x00080023, 0x00080033, 0x0008002A, 0x00420010, 0x0040A043)
    ),
}  # fmt: skip

_COMMON = ("Patient", "General Study", "General Series", "General Equipment")
_IMAGE = (*_COMMON, "General Image")
_ENHANCED = (
    *_COMMON, "Enhanced General Equipment", "Frame of Reference", "Multi-frame Functional Groups", "Multi-frame Dimension",
    "Acquisition Context",
)  # fmt: skip
_DX = (*_IMAGE, "DX Series", "DX Anatomy Imaged", "DX Image", "DX Detector", "Acquisition Context")
_VL = (*_IMAGE, "Acquisition Context", "VL Image")
_SR = (*_COMMON, "SR Document Series", "SR Document General", "SR Document Content")
_SC_MULTI = (*_IMAGE, "SC Equipment", "Multi-frame", "SC Multi-frame Image")

IODS: dict[str, tuple[str, ...]] = {
    f"{_S}1": (*_IMAGE, "CR Series"),
    f"{_S}1.1": _DX,
    f"{_S}1.1.1": _DX,
    f"{_S}2": (*_IMAGE, "Frame of Reference", "Image Plane", "CT Image"),
    f"{_S}2.1": (*_ENHANCED, "Enhanced CT Image"),
    f"{_S}3.1": (*_IMAGE, "Multi-frame", "US Image"),
    f"{_S}4": (*_IMAGE, "Frame of Reference", "Image Plane", "MR Image"),
    f"{_S}4.1": (*_ENHANCED, "Enhanced MR Image"),
    f"{_S}6.1": (*_IMAGE, "US Image"),
    f"{_S}7": ("Patient", "General Study", "General Series", "SC Equipment", "General Image"),
    f"{_S}7.2": _SC_MULTI,
    f"{_S}7.3": _SC_MULTI,
    f"{_S}7.4": _SC_MULTI,
    f"{_S}77.1.1": _VL,
    f"{_S}77.1.1.1": (*_VL, "Multi-frame"),
    f"{_S}77.1.2": _VL,
    f"{_S}77.1.2.1": (*_VL, "Multi-frame"),
    f"{_S}77.1.4": _VL,
    f"{_S}77.1.4.1": (*_VL, "Multi-frame"),
    f"{_S}88.11": _SR,
    f"{_S}88.22": _SR,
    f"{_S}88.33": _SR,
    f"{_S}88.59": (*_COMMON, "SR Document Series", "Key Object Document", "SR Document Content"),
    f"{_S}104.1": (*_COMMON, "SC Equipment", "Encapsulated Document Series", "Encapsulated Document"),
}
