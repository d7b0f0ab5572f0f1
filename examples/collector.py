"""How often Python looks for cycles of objects in a process that serves: hardly ever."""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["calm_the_collector"]

# So many more objects than at the last look before the collector looks again. A turn of a thousand posts holds over a
# hundred thousand while it lasts, and none of them is garbage for it to find.
_NEW_OBJECTS: Final = 250_000


def calm_the_collector() -> None:
    """Look for cycles less often, and never among what is there now.

    A message makes many objects and no cycle. With the collector off altogether, posting in one process with a hundred
    devices took a third less.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
