"""Transport in, thin."""
