"""Storage SOP classes (PS3.4 B.5, from pydicom's registry of PS3.6 table A-1) and which of them carry pixels."""

from __future__ import annotations

from pydicom._uid_dict import UID_dictionary

from consilium_dicom.uids import is_valid_uid

_EXTRA = {"1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing"}


def _storage() -> dict[str, str]:
    """Return {UID: name} of every storage SOP class that the registry knows, retired ones too."""
    found = dict(_EXTRA)
    for uid, (name, kind, *_rest) in UID_dictionary.items():
        storage = uid.startswith(("1.2.840.10008.5.1.4.1.1.", "1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.1.2"))
        named = uid.startswith("1.2.840.10008.5.1.4.") and "Storage" in name and "Commitment" not in name
        if kind == "SOP Class" and ((storage and "Storage" in name) or named):
            found[uid] = name
    return found


STORAGE_SOP_CLASSES: dict[str, str] = _storage()


_OTHER_IMAGES = frozenset(
    {
        "Segmentation Storage",
        "Parametric Map Storage",
        "Enhanced US Volume Storage",
        "Ophthalmic Thickness Map Storage",
        "Corneal Topography Map Storage",
    }
)


def name_of(uid: str) -> str:
    """Return the SOP class's name, or the UID itself when the registry does not know it."""
    return STORAGE_SOP_CLASSES.get(uid, uid)


def is_storage(uid: str) -> bool:
    """Tell whether the UID is a storage SOP class of the standard."""
    return uid in STORAGE_SOP_CLASSES


def is_private(uid: str) -> bool:
    """Tell whether the UID lies outside DICOM's own root: a vendor's SOP class."""
    return is_valid_uid(uid) and not uid.startswith("1.2.840.10008.")


def needs_pixels(uid: str) -> bool:
    """Tell whether an instance of this class must hold pixel data: image storages, segmentations and maps, RT dose aside."""
    name = STORAGE_SOP_CLASSES.get(uid, "")
    return "Image Storage" in name or name in _OTHER_IMAGES
