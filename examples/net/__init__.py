"""The edge of the reference server: WebSocket and HTTP on one port, and the client's side of both."""
