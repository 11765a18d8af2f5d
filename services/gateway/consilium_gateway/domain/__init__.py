"""Pure rules: routes, command life, codes, limits, OpenAPI merging."""
