"""Devices at frame level, without encryption: many in one process, to load a server and count what it does."""
