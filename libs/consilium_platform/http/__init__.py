"""HTTP as every room speaks it: the app factory, problem+json, bearer authentication, calls between services."""
