"""The hospital side: captures, publishes by WHIP, keeps the last minute, spools and uploads; it never listens."""

__version__ = "0.1.0"
