"""Nouns and rules of a room, pure: states, participants, strokes, limits."""
