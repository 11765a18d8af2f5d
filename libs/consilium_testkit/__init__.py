"""Fakes and real servers for tests; never imported by product code."""
