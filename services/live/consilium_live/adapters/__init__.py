"""The outside world behind the flows' ports: SQL and the gateway."""
