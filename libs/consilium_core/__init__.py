"""Words of the house: ids, clock, errors, events, roles, frame references and the site protocol (stdlib and pydantic only)."""
