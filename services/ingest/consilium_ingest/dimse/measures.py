"""What Prometheus reads of the DIMSE door: counts and times, no titles, addresses or UIDs."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ASSOCIATIONS_OPEN = Gauge("consilium_dimse_associations_open", "Associations that are open now.")
ASSOCIATIONS = Counter(
    "consilium_dimse_associations_total",
    "Associations by how they ended: released, aborted (by the peer), violated, expired, drained, lost, refused.",
    ["end"],
)
STORES = Counter("consilium_dimse_stores_total", "C-STORE requests answered, by status word.", ["status"])
ECHOES = Counter("consilium_dimse_echoes_total", "C-ECHO requests answered.")
BYTES = Counter("consilium_dimse_stored_bytes_total", "Bytes of the objects of successful C-STORE requests.")
STORE_SECONDS = Histogram(
    "consilium_dimse_store_seconds",
    "From an object's last byte to its answer.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
