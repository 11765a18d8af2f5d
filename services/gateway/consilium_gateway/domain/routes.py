"""Who serves which path: docs/architecture.md section 1 as a table (first match wins; prefixes end at a segment)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Target = Literal["gateway", "ingest", "imaging", "live", "consult", "web", "nobody"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: paths under ``prefix``, only for ``method`` when it is given."""

    prefix: str
    target: Target
    method: str | None = None


TABLE: tuple[Rule, ...] = (
    Rule("/internal", "nobody"),
    Rule("/site/v1/uploads", "ingest"),
    Rule("/site/v1", "gateway"),
    Rule("/dicomweb/commitment-requests", "ingest"),
    Rule("/dicomweb", "ingest", "POST"),
    Rule("/dicomweb", "imaging"),
    Rule("/wado", "imaging"),
    Rule("/whip", "live"),
    Rule("/whep", "live"),
    Rule("/api/v1/rooms", "live"),
    Rule("/api/v1/patients", "consult"),
    Rule("/api/v1/consultations", "consult"),
    Rule("/api/v1/reports", "consult"),
    Rule("/api/v1/ingest", "ingest"),
    Rule("/api/v1/imaging", "imaging"),
    Rule("/api", "gateway"),
    Rule("/site", "gateway"),
    Rule("/fhir", "nobody"),
    Rule("/healthz", "gateway"),
    Rule("/readyz", "gateway"),
    Rule("/metrics", "gateway"),
    Rule("/", "web"),
)


def target_of(method: str, path: str) -> Target:
    """Return who serves the request; ``method`` is ``GET`` for a WebSocket handshake.

    Paths that another hop could read differently (dot segments, empty segments, backslashes, controls) belong to nobody.
    """
    if is_ambiguous(path):
        return "nobody"
    for rule in TABLE:
        if (rule.method is None or rule.method == method) and _under(path, rule.prefix):
            return rule.target
    return "nobody"


def is_ambiguous(path: str) -> bool:
    """Say whether a decoded path could mean something else to the next server."""
    if not path.startswith("/") or "//" in path or "\\" in path or not path.isprintable():
        return True
    return "/." in path and any(segment in (".", "..") for segment in path.split("/"))


def _under(path: str, prefix: str) -> bool:
    return prefix in ("/", path) or path.startswith(prefix + "/")
