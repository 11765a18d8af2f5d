"""The one public door: sign-in, tokens, site enrolment and polling, events, audit reading, routing, the web client's files."""
