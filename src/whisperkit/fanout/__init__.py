"""Who gets a copy of a post, and how: a pure planner."""

from whisperkit.strategy import Strategy

__all__ = ["Strategy"]
