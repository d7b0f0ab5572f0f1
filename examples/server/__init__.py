"""The reference server: one process, one SQLite file, WebSocket and HTTP on one port."""
