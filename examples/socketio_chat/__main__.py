"""`python -m examples.socketio_chat [PORT]`: the server on one port, with all that it keeps in `chat-data/socketio`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from examples.socketio_chat.app import FOLDER
from examples.uvicorn_site import port_of, run_site

__all__ = ["main"]

_PORT: Final = 8092


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    about = "A chat server on python-socketio; all that it keeps is in chat-data/socketio."
    port = port_of(arguments, program="examples.socketio_chat", about=about, default=_PORT)
    FOLDER.mkdir(parents=True, exist_ok=True)
    return run_site("examples.socketio_chat.app:app", port=port, file=FOLDER / "messages.db")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
