"""The outside world for the server rooms: settings, tokens, http, sql, outbox, bus, blobs, audit, telemetry."""
