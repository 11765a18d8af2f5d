"""Look for text that is burnt into a picture, and say when it cannot be told (classical: bright strokes of one height in a row).

Burnt-in letters are small, of one height, of one thin stroke, evenly bright and sharply set against what is behind them; anatomy is
seldom all of that. Components of a top hat (both polarities) are gathered into lines and each line is scored. The thresholds were
set on the public samples of the tests. A false "unsure" costs a person's look; a false "none" costs a name: they lean to the former.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Verdict = Literal["none", "unsure", "text"]
Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels of the picture."""

_LEAST_HEIGHT, _MOST_HEIGHT = 5, 72
_MOST_COMPONENTS = 4000
_FEWEST_PIXELS = 40  # of one short word: a share of the picture would overlook a name on a large one
_CONTRAST = 40
_SURE_LETTERS, _UNSURE_LETTERS = 4, 2
_MOST_PIXELS = 4_000_000
_SMOOTH, _ONE_VALUE = 45.0, 20.0


@dataclass(frozen=True, slots=True)
class TextFound:
    """What was found on the frames together; ``boxes`` are lines of text or what may be one."""

    verdict: Verdict
    boxes: tuple[Box, ...] = ()


def grey_of(samples: NDArray[Any], photometric: str) -> NDArray[np.uint8]:
    """Return (rows, columns) uint8 of decoded samples, their whole range spread over 0 to 255."""
    plain = samples.astype(np.float32)
    grey = (
        plain[..., 0]
        if photometric.startswith("YBR") and plain.ndim == 3
        else plain.mean(2)
        if plain.ndim == 3
        else plain
    )
    low, high = (0.0, 255.0) if samples.dtype == np.uint8 else (float(grey.min()), float(np.percentile(grey, 99.9)))
    spread = np.clip((grey - low) * (255.0 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(255 - spread if photometric == "MONOCHROME1" else spread)


def find_text(frames: Sequence[NDArray[np.uint8]], *, screen: bool = True) -> TextFound:
    """Return the verdict over some frames of one object (first, middle, last) as ``grey_of`` gives them.

    ``screen``: the picture may be a captured screen (8 bits a sample), whose text may also be faint, or smoothed by compression. In
    deeper pixels, text is one value.
    """
    verdict: Verdict = "none"
    boxes: list[Box] = []
    for frame in frames:
        for found, box in _lines(frame, screen=screen):
            if found == "text" or verdict == "none":
                verdict = found
            if box not in boxes:
                boxes.append(box)
    return TextFound(verdict, tuple(boxes[:200]))


@dataclass(frozen=True, slots=True)
class _Letter:
    left: int
    top: int
    width: int
    height: int
    stroke: float
    spread: float


def _lines(grey: NDArray[np.uint8], *, screen: bool) -> list[tuple[Verdict, Box]]:
    factor = 1
    if grey.size > _MOST_PIXELS:
        factor = int(np.ceil(np.sqrt(grey.size / _MOST_PIXELS)))
        grey = cv2.resize(grey, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA).astype(np.uint8)
    out: list[tuple[Verdict, Box]] = []
    for polarity in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        for line, faint in _candidates(grey, polarity, faint_too=screen):
            verdict = _score(line, _SMOOTH if screen else _ONE_VALUE)
            verdict = "unsure" if faint and verdict == "text" else "none" if faint else verdict
            if verdict != "none":
                left, top = min(one.left for one in line), min(one.top for one in line)
                right = max(one.left + one.width for one in line)
                bottom = max(one.top + one.height for one in line)
                box = (left * factor, top * factor, (right - left) * factor, (bottom - top) * factor)
                out.append((verdict, box))
    return out


def _candidates(grey: NDArray[np.uint8], polarity: int, *, faint_too: bool) -> list[tuple[list[_Letter], bool]]:
    """Return rows of letters and whether they are faint: far less bright than the brightest strokes of the picture."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (17, 17))
    hat = cv2.morphologyEx(grey, polarity, kernel)
    few = min(_FEWEST_PIXELS, hat.size)
    peak = float(np.partition(hat, hat.size - few, axis=None)[hat.size - few])
    if peak < _CONTRAST:
        return []
    strong = max(_CONTRAST, 0.45 * peak)
    found = [(row, False) for row in _rows(_letters(grey, hat > strong))]
    if faint_too and strong > _CONTRAST:
        found += [(row, True) for row in _rows(_letters(grey, (hat > _CONTRAST) & (hat <= strong)))]
    return found


def _letters(grey: NDArray[np.uint8], strokes: NDArray[np.bool_]) -> list[_Letter]:
    """Return the components that may be letters: small, not solid, with a thin and even stroke."""
    binary = strokes.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    inner = cv2.distanceTransform(binary, cv2.DIST_L2, 3)
    out = []
    limit = min(_MOST_HEIGHT, grey.shape[0] // 4)
    for number in range(1, count):
        left, top, width, height, area = (int(part) for part in stats[number])
        if not (_LEAST_HEIGHT <= height <= limit and 1 <= width <= 3 * height and 0.12 * width * height <= area):
            continue
        window = labels[top : top + height, left : left + width] == number
        stroke = 2 * float(inner[top : top + height, left : left + width][window].max())
        if stroke > 0.45 * height:
            continue
        values = grey[top : top + height, left : left + width][window]
        out.append(_Letter(left, top, width, height, stroke, float(values.std())))
        if len(out) > _MOST_COMPONENTS:
            return []  # a texture, not a text
    return out


def _rows(letters: Sequence[_Letter]) -> list[list[_Letter]]:
    """Return runs of letters that stand side by side: same height, same line, gaps of less than a letter's height."""
    rows: list[list[_Letter]] = []
    open_rows: list[list[_Letter]] = []
    for one in sorted(letters, key=lambda letter: letter.left):
        open_rows = [row for row in open_rows if one.left - (row[-1].left + row[-1].width) <= 1.5 * row[-1].height]
        for row in open_rows:
            last = row[-1]
            near = one.left >= last.left + last.width // 2
            if near and _aligned(last, one):
                row.append(one)
                break
        else:
            open_rows.append([one])
            rows.append(open_rows[-1])
    return [row for row in rows if len(row) >= _UNSURE_LETTERS]


def _aligned(a: _Letter, b: _Letter) -> bool:
    taller, lower = max(a.height, b.height), min(a.height, b.height)
    bottoms = abs((a.top + a.height) - (b.top + b.height))
    return lower >= 0.6 * taller and bottoms <= max(2, 0.3 * taller) and abs(a.stroke - b.stroke) <= 2.0


def _score(line: Sequence[_Letter], spread_limit: float) -> Verdict:
    heights = np.array([one.height for one in line], np.float32)
    bottoms = np.array([one.top + one.height for one in line], np.float32)
    strokes = np.array([one.stroke for one in line], np.float32)
    spread = float(np.mean([one.spread for one in line]))
    even = float(heights.std() / heights.mean()) <= 0.22 and float(strokes.std()) <= 1.2
    level = float(bottoms.std()) <= max(1.2, 0.12 * float(heights.mean()))
    if len(line) >= _SURE_LETTERS and even and level and spread <= spread_limit:
        return "text"
    if len(line) >= _SURE_LETTERS and (even or level) and spread <= 1.33 * spread_limit:
        return "unsure"
    if len(line) > _UNSURE_LETTERS and even and level and spread <= spread_limit:
        return "unsure"
    return "none"
