"""The terminal client on the whole screen."""
