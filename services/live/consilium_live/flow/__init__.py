"""What happens in the rooms: one verb per function, over ports."""
