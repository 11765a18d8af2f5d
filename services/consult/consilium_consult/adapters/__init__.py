"""Tables and the printed page."""
