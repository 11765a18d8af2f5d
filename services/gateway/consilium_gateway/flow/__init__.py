"""What happens: one verb family per file."""
