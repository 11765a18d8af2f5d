"""What an import refuses before an object reaches the archive's own validation."""

from __future__ import annotations

from typing import ClassVar

from consilium_core.errors import Invalid, Mend, NotFound


class FileUnreadable(Invalid):
    """The file system does not give the file's bytes."""

    code = "file-unreadable"
    mend: ClassVar[Mend] = "operator"


class ListedFileMissing(NotFound):
    """A DICOMDIR lists a file that is not there."""

    code = "listed-file-missing"


class DicomdirBroken(Invalid):
    """The directory records can't be read; files are found without them."""

    code = "dicomdir-broken"


class ZipBroken(Invalid):
    """The ZIP archive, or one member of it, can't be read."""

    code = "zip-broken"


class ZipHostile(Invalid):
    """The ZIP archive is beyond a fence: members, size, ratio, nesting, or a name that leads out of it."""

    code = "zip-hostile"


class ImportEmpty(NotFound):
    """A path that is to be imported is not there."""

    code = "import-path-missing"
