"""How the rows of a conversation reach its members: one word for the planner, the store and the service.

The strategy in force is part of a conversation's head and of each of its rows, because a row is finished
by its own strategy and never by today's: a row that was queued must not overtake or be overtaken by one
that is not.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Strategy"]


class Strategy(IntEnum):
    """Who finishes a row. The numbers are stored and never change meaning; larger is for more members."""

    SMALL = 1
    """The posting gateway appends to every inbox."""

    MID = 2
    """A worker appends to every inbox, told by a durable job."""

    MEGA = 3
    """Nobody: members hear of the new head and pull the row."""

    is_pushed: bool
    """Whether rows of this strategy go into the members' inboxes."""

    def __init__(self, number: int) -> None:
        self.is_pushed = number < 3
