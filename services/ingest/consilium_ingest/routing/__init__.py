"""Routing: what is stored goes on to other archives by rules; one bad destination never holds up another."""
