"""Logs and metrics: structlog with constant snake_case events; Prometheus text on ``/metrics`` of each process.

Logs never carry patient identifiers, tokens, SDP or URLs with credentials: ``_redact`` is the last line of defence, not the first.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

_SECRET_KEYS = re.compile(
    r"token|password|secret|authorization|cookie|sdp|patient|birth|person_name|enrolment_code", re.IGNORECASE
)
_BEARER = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+|(?<=://)[^/@\s]+@")


def _redact(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in fields.items():
        fields[key] = _clean(value) if key == "event" else _cleaned_field(key, value)
    return fields


def _cleaned_field(key: Any, value: Any, depth: int = 0) -> Any:
    return "[redacted]" if _SECRET_KEYS.search(str(key)) else _clean(value, depth)


def _clean(value: Any, depth: int = 0) -> Any:
    """Take secrets out of strings and containers; what is nested deeper than six levels is dropped."""
    if isinstance(value, str):
        return _BEARER.sub("[redacted]", value)
    if not isinstance(value, dict | list | tuple | set | frozenset):
        return value
    if depth >= 6:
        return "[too deep]"
    if isinstance(value, dict):
        return {key: _cleaned_field(key, inner, depth + 1) for key, inner in value.items()}
    return [_clean(inner, depth + 1) for inner in value]


def set_up_logging(form: Literal["console", "json"] = "console", level: str = "info") -> None:
    """Configure structlog for the process; call once, at the start of a program."""
    renderer: Any = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            renderer,
        ],
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),  # the stream of the moment, not of the set-up
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING)
    for noisy in ("aioice", "aiortc", "botocore", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # each of its failures is an event of routing
