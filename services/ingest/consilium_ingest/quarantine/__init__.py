"""The quarantine desk: people look at held objects, correct an identity together, release or reject (``/api/v1/ingest/quarantine``)."""
