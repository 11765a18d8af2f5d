"""A small selective-forwarding unit: encoded packets in, the same packets out to every viewer."""

from __future__ import annotations

from consilium_live.media.plane import MediaPlane

__all__ = ["MediaPlane"]
