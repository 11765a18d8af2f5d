"""Folders and ZIP archives of synthetic instances, as an import finds them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from consilium_core.ids import new_uid
from consilium_testkit.instances import ct_instance


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def files_below(folder: Path, count: int) -> dict[Path, bytes]:
    """Write instances of one series; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = new_uid(), new_uid()
    made = {}
    for number in range(count):
        path = folder / f"IM{number:04d}"
        made[path] = ct_instance(side=16, StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number)
        path.write_bytes(made[path])
    return made
