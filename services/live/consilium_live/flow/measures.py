"""Prometheus figures of the live service: people, rooms, and the media plane's counters as gauges set by the timer."""

from __future__ import annotations

from prometheus_client import Gauge

from consilium_live.flow.context import LiveContext
from consilium_live.flow.resources import ResourceKind

ROOMS = Gauge("consilium_live_rooms", "Rooms that somebody is in or publishes into.")
LIVE_ROOMS = Gauge("consilium_live_rooms_live", "Rooms whose modality picture delivers packets.")
PARTICIPANTS = Gauge("consilium_live_participants", "People connected by WebSocket.")
SESSIONS = Gauge("consilium_live_http_sessions", "WHIP and WHEP sessions.", ["kind"])
MEDIA = Gauge("consilium_live_media", "The media plane's counters since it opened, and its gauges.", ["figure"])
_FIGURES = (
    "sessions", "tracks", "received_packets", "received_bytes", "forwarded_packets", "forwarded_bytes",
    "dropped_packets", "refused_datagrams", "nacks", "rtx", "plis", "plis_sent", "replayed_packets", "sink_failures",
)  # fmt: skip


def measure(context: LiveContext) -> None:
    """Set every figure as it is now."""
    halls = list(context.halls)
    ROOMS.set(len(halls))
    LIVE_ROOMS.set(sum(hall.live for hall in halls))
    PARTICIPANTS.set(sum(hall.participants for hall in halls))
    kinds: tuple[ResourceKind, ...] = ("whip", "whep")
    for kind in kinds:
        SESSIONS.labels(kind).set(context.resources.count(kind))
    stats = context.plane.stats()
    for figure in _FIGURES:
        MEDIA.labels(figure).set(getattr(stats, figure))
