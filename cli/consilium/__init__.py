"""The front door: ``consilium up | serve | site | token | migrate | keys | openapi | verify-audit | doctor``."""

__version__ = "0.1.0"
