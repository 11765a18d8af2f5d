"""Rooms: WHIP and WHEP, signalling, forwarding of encoded packets, captures asked of the site."""
