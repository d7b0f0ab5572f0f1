"""One measurement in a process of its own: its name and arguments come in, its figures go out as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
import uvloop

from tests.bench.server import inside, loads, relay_loads
from tests.bench.server.pacing import Window

__all__ = ["main"]

# Any: each takes and gives what it needs; the table of rows knows.
_LOADS: Final[Mapping[str, Callable[..., Awaitable[Any]]]] = {
    "pairs": loads.pairs,
    "group": loads.group,
    "paced": loads.paced,
    "idle": loads.idle,
    "logins": loads.logins,
    "catch_up": loads.catch_up,
    "long_run": loads.long_run,
    "relay_pairs": relay_loads.pairs,
    "relay_group": relay_loads.group,
    "relay_paced": relay_loads.paced,
}
_STORES: Final[Mapping[str, Callable[..., Awaitable[Any]]]] = {
    "door": inside.door,
    "service": inside.service,
    "inbox_read": inside.inbox_read,
    "many_conversations": inside.many_conversations,
}
_ENGINES: Final[Mapping[str, Callable[..., Any]]] = {
    "mirror": inside.mirror,
    "planner": inside.planner,
    "presence": inside.presence,
}


def main(name: str, arguments: str) -> None:
    """Measure."""
    given = json.loads(arguments)
    if "window" in given:
        given["window"] = Window(*given["window"])
    if name in _LOADS:
        found = uvloop.run(_awaited(_LOADS[name], given))
    elif name in _STORES:
        given["folder"] = Path(given["folder"])
        found = anyio.run(_awaited, _STORES[name], given)
    else:
        found = _ENGINES[name](**given)
    print(json.dumps(found._asdict() if hasattr(found, "_asdict") else found))


async def _awaited(measure: Callable[..., Awaitable[Any]], given: dict[str, Any]) -> Any:
    return await measure(**given)


if __name__ == "__main__":
    main(*sys.argv[1:])
