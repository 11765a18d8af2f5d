"""Transports in: REST, WHIP/WHEP, the room's WebSocket, internal calls."""
