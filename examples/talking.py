"""What the persons in the framework examples have in common: what is typed is sent, and they end when all of it is."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final

import anyio

from examples.chat.typed import TypedLines
from examples.exits import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNAVAILABLE
from examples.printing import replace_what_is_missing
from whisperkit.client import Client
from whisperkit.errors import TransportError
from whisperkit.ids import ConversationId, MessageId
from whisperkit.receipts import MessageStatus

__all__ = ["run_talk", "sent", "typed_lines"]

_PATIENCE_S: Final = 10.0
# What all three servers take.
_NAME: Final = re.compile("[a-z0-9-]{1,40}")


async def typed_lines() -> AsyncIterator[str]:
    """The lines of the input in which there is something."""
    async for line in TypedLines(sys.stdin.fileno()):
        if line:
            yield line


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
def run_talk(
    talk: Callable[[str, str, str], Coroutine[Any, Any, None]],
    arguments: Sequence[str],
    *,
    program: str,
    place: str,
    url: str,
) -> int:
    """Talk until the input ends; returns the exit code.

    Args:
        talk: Takes who talks, where or with whom, and the URL.
        arguments: Of the command line; what is wrong with them is told, and ends the program with code 2.
        program: The module that is run.
        place: What the second argument is called: a room, or somebody.
        url: Of the server, if the command line names none.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}", description="Talk until the input ends: each line that is typed is sent."
    )
    parser.add_argument("name", type=_name, metavar="NAME", help="who you are")
    parser.add_argument("place", type=_name, metavar=place, help="where, or with whom")
    parser.add_argument("url", nargs="?", default=url, metavar="URL", help="of the server (default: %(default)s)")
    asked = parser.parse_args(arguments)
    replace_what_is_missing()
    try:
        asyncio.run(talk(asked.name, asked.place, asked.url))
    except TransportError as error:
        print(error, file=sys.stderr)
        return EXIT_UNAVAILABLE
    except (KeyboardInterrupt, asyncio.CancelledError):  # the second where a scope was cancelled at the same time
        return EXIT_INTERRUPTED
    return EXIT_OK


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"a name has small letters, digits and -, and at most 40 of them, got {text}")
    return text
