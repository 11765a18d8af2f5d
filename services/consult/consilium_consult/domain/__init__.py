"""Nouns and state machines of consultations and reports, pure."""
