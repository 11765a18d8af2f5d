"""The outside: tables, other services over HTTP and WebSocket, the web client's files."""
