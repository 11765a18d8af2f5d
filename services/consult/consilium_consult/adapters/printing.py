"""The printed report: A4 PDF, Chinese and English side by side in the labels, embedded font, the same bytes for the same content.

reportlab is CPU work and the font takes a second to read: both happen in one worker thread of the printer's own.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from pathlib import Path

from consilium_consult.errors import FontMissing, PrinterBusy
from consilium_consult.wire import Report

MOST_WAITING = 32
_PLACES = (
    ".cache/fonts/NotoSansSC-Regular.ttf",
    "/usr/share/consilium/fonts/NotoSansSC-Regular.ttf",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
)


def find_font(given: Path | None) -> Path:
    """Return the font file: the given one, or the first that is installed; raise FontMissing with the way out."""
    root = Path(__file__).resolve().parents[4]
    places = [given] if given is not None else [root / place for place in _PLACES]
    for place in places:
        if place.is_file():
            return place
    raise FontMissing(
        "No font with Chinese letters was found: run `make run` once more, install fonts-wqy-microhei, "
        "or set CONSILIUM_CONSULT_FONT_FILE."
    )


@dataclass(frozen=True, slots=True)
class Printed:
    """A report and what of its consultation stands on the page; ``zone``: whose wall clock the times are."""

    report: Report
    question: str
    accession_number: str
    requested_by: str
    zone: tzinfo


class Printer:
    """Prints reports in a thread of its own; ``close`` ends it."""

    def __init__(self, font_file: Path | None) -> None:
        self._font_file = font_file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="printer")
        self._waiting = 0

    async def print(self, printed: Printed) -> bytes:
        """Return the PDF of a report (bytes begin with ``%PDF``)."""
        if self._waiting >= MOST_WAITING:
            raise PrinterBusy("The printer has too much to do. Try again in a moment.", retry_after_s=5)
        loop = asyncio.get_running_loop()
        self._waiting += 1
        try:
            return await loop.run_in_executor(self._thread, partial(self._print, printed))
        finally:
            self._waiting -= 1

    def _print(self, printed: Printed) -> bytes:
        from consilium_consult.adapters import page  # reportlab takes a while to read: only whoever prints pays

        if not page.has_font():
            page.use_font(find_font(self._font_file))
        return page.render(printed)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)
