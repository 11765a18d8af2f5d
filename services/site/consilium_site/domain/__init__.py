"""Pure rules of the agent: frames, ring, H.264 bytes, back-off, spool entries, state machines."""
