"""What crosses the wall: pydantic models of REST and of `consilium.room.v1` (schemas in contracts/signalling)."""
