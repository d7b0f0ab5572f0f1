"""One measurement in a process of its own: its name and arguments come in, its figures go out as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from examples.collector import calm_the_collector
from tests.bench.server import inside, loads, players
from tests.bench.server.pacing import Window
from tests.bench.server.relay_loads import RelayPlayer
from tests.bench.server.socketio_loads import SocketioPlayer
from tests.bench.server.xmpp_loads import XmppMember, XmppPlayer

__all__ = ["MEASURES", "main"]

# Any: each takes and gives what it needs; the table of rows knows.
_LOADS: Final[Mapping[str, Callable[..., Awaitable[Any]]]] = {
    "pairs": loads.pairs,
    "group": loads.group,
    "paced": loads.paced,
    "idle": loads.idle,
    "logins": loads.logins,
    "catch_up": loads.catch_up,
    "long_run": loads.long_run,
    "relay_pairs": partial(players.pairs, RelayPlayer),
    "relay_group": partial(players.group, RelayPlayer),
    "relay_idle": partial(players.idle, RelayPlayer),
    "relay_paced": partial(players.paced, RelayPlayer),
    "xmpp_pairs": partial(players.pairs, XmppPlayer),
    "xmpp_group": partial(players.group, XmppMember),
    "xmpp_idle": partial(players.idle, XmppPlayer),
    "socketio_pairs": partial(players.pairs, SocketioPlayer),
    "socketio_group": partial(players.group, SocketioPlayer),
    "socketio_idle": partial(players.idle, SocketioPlayer),
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

MEASURES: Final = frozenset((*_LOADS, *_STORES, *_ENGINES))


def main(name: str, arguments: str) -> None:
    """Measure."""
    given = json.loads(arguments)
    if "window" in given:
        given["window"] = Window(*given["window"])
    if name in _LOADS:
        found = uvloop.run(_awaited(_LOADS[name], given))
    elif name in _STORES:
        calm_the_collector()  # as the server does, on its loop
        given["folder"] = Path(given["folder"])
        found = uvloop.run(_awaited(_STORES[name], given))
    else:
        found = _ENGINES[name](**given)
    print(json.dumps(found._asdict() if hasattr(found, "_asdict") else found))


async def _awaited(measure: Callable[..., Awaitable[Any]], given: dict[str, Any]) -> Any:
    return await measure(**given)


if __name__ == "__main__":
    main(*sys.argv[1:])
