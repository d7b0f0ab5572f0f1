"""A chat server on python-socketio, with accounts of its own."""
