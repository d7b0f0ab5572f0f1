"""Two phones and the server between them, in a browser: everything is real, and every fault is a button."""
