"""What the persons in the framework examples have in common: what is typed is sent, and they end when all of it is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final

import anyio

from whisperkit.client import Client
from whisperkit.errors import TransportError
from whisperkit.ids import ConversationId, MessageId
from whisperkit.receipts import MessageStatus

__all__ = ["run_talk", "sent", "typed_lines"]

_PATIENCE_S: Final = 10.0
EXIT_USAGE: Final = 2
EXIT_UNAVAILABLE: Final = 69


async def typed_lines() -> AsyncIterator[str]:
    """The lines of the input in which there is something."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            yield line.strip()


async def sent(client: Client, conv: ConversationId, last: MessageId | None, *, wait_s: float = _PATIENCE_S) -> None:
    """Wait until the last message is on the server, and with it those before; `None` for there is none.

    Raises:
        TransportError: It takes too long.
    """
    news = client.events()
    with anyio.move_on_after(wait_s):
        while last is not None and await client.status(conv, last) is MessageStatus.PENDING:
            await news.get()
        return
    raise TransportError("not all is sent yet; it goes out the next time")


# Any: nothing is sent into it, and it returns nothing.
def run_talk(talk: Callable[..., Coroutine[Any, Any, None]], arguments: Sequence[str], usage: str) -> int:
    """Talk until the input ends; returns the exit code.

    Args:
        talk: Takes who talks, where, and perhaps the URL.
        arguments: Of the command line.
        usage: What they have to be.
    """
    if not 2 <= len(arguments) <= 3:
        print(f"usage: {usage}", file=sys.stderr)
        return EXIT_USAGE
    try:
        asyncio.run(talk(*arguments))
    except TransportError as error:
        print(error, file=sys.stderr)
        return EXIT_UNAVAILABLE
    return 0
