"""`python -m examples.socketio_chat [PORT]`: the server on one port, with all that it keeps in `chat-data/socketio`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import uvicorn

__all__ = ["main"]

_PORT: Final = 8092


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    port = int(arguments[0]) if arguments else _PORT
    uvicorn.run("examples.socketio_chat.app:app", port=port, lifespan="on", access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
