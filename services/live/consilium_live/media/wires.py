"""What every part of one plane shares: the socket, the settings, the counters and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consilium_live.media.udp import UdpEndpoint
from consilium_live.ports import MediaSettings, PlaneStats


@dataclass(frozen=True, slots=True)
class Wires:
    """Made once by the plane, which closes the endpoint; `now` gives monotonic seconds."""

    endpoint: UdpEndpoint
    settings: MediaSettings
    stats: PlaneStats
    now: Callable[[], float]
