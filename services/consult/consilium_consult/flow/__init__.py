"""What happens: one verb per function, one transaction each."""
