"""What Prometheus reads of storage commitment: counts only."""

from __future__ import annotations

from prometheus_client import Counter

INSTANCES = Counter(
    "consilium_commitment_instances_total", "Instances decided of, by outcome: committed, or why not.", ["outcome"]
)
REPORTS = Counter(
    "consilium_commitment_reports_total",
    "Reports of decided DIMSE transactions by how an attempt ended: delivered, failed, given-up.",
    ["outcome"],
)
