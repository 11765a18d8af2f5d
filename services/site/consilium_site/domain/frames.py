"""What a captured frame is, and how an RTP timestamp finds it again (SP-43, SP-44). Pure but for numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from consilium_core.frame_ref import FrameStamp

Pixels: TypeAlias = npt.NDArray[np.uint8]

RTP_CLOCK_HZ = 90_000
DEVICE_ID = "capture"
_RTP_MODULUS = 1 << 32


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """One frame as the card gave it: ``pixels`` is (rows, columns, 3) uint8 in BGR order; ``pts`` in 90 kHz ticks of the agent's run."""

    stamp: FrameStamp
    pts: int
    pixels: Pixels

    @property
    def height(self) -> int:
        """Return the rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Return the columns."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """One frame of the ring: a baseline JPEG in full quality (4:2:2) and who it is."""

    stamp: FrameStamp
    pts: int
    width: int
    height: int
    jpeg: bytes


def pts_from(monotonic_s: float) -> int:
    """Return 90 kHz ticks for seconds of the agent's run."""
    return round(monotonic_s * RTP_CLOCK_HZ)


def rtp_timestamp(pts: int, origin: int) -> int:
    """Return the 32-bit RTP timestamp that a sender with the random ``origin`` gives to ``pts`` (RFC 3550 5.1)."""
    return (pts + origin) % _RTP_MODULUS


def rtp_distance(a: int, b: int) -> int:
    """Return how many ticks lie between two RTP timestamps, across the wrap."""
    ahead = (a - b) % _RTP_MODULUS
    return min(ahead, _RTP_MODULUS - ahead)
