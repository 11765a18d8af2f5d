"""Logs of the agent: one JSON line per event on standard error; never patient data, tokens or SDP.

Libraries that would log addresses or SDP are held at WARNING.
"""

from __future__ import annotations

import logging
import sys

import structlog

_CHATTY = ("aioice", "aiortc", "httpx2", "httpcore2", "pydicom", "libav", "asyncio")


def configure_logs(level: str) -> None:
    """Set up structlog for the process; ``level`` is DEBUG, INFO, WARNING or ERROR."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
