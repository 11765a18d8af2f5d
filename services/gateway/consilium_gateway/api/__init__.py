"""Transport in: thin endpoints over the flows."""
