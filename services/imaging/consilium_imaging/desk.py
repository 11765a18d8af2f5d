"""What retrievals need of their room."""

from __future__ import annotations

from dataclasses import dataclass

from consilium_archive.reader import ArchiveReader
from consilium_imaging.derivatives import Derivatives
from consilium_imaging.pictures import Pictures
from consilium_imaging.settings import ImagingSettings
from consilium_imaging.videos import Videos
from consilium_imaging.views import ViewAudit


@dataclass(frozen=True)
class ViewDesk:
    """The archive's reader, who draws, who plays, who writes down who saw it."""

    reader: ArchiveReader
    pictures: Pictures
    videos: Videos
    derivatives: Derivatives
    views: ViewAudit
    settings: ImagingSettings
