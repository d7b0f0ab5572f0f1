"""Commands that are typed: those of the plain client, some of them with a better answer than lines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from textual.app import SystemCommand

from examples.chat.commands import COMMANDS
from examples.chat.wanted import quoted
from examples.tui.item_actions import retry

if TYPE_CHECKING:
    from examples.tui.app import ChatApp

__all__ = ["offered_commands", "run_command"]


async def run_command(app: ChatApp, line: str) -> None:
    """Do what a line says, which begins with a slash."""
    word, _, rest = line.strip().partition(" ")
    better = _BETTER.get(word)
    try:
        if better is not None and await better(app, rest.strip()):
            return
    except ValueError as error:
        app.say(f"{word}: {error}", is_bad=True)
        return
    here = app.desk.here
    app.desk.said.clear()
    await app.commands.take(line.strip())
    said = list(app.desk.said)
    app.desk.said.clear()
    if app.commands.is_over:
        app.exit(0)
    elif app.desk.here is not None and app.desk.here != here:
        await app.open_chat(app.desk.here)
    elif app.desk.here is not None and word in ("/to", "/group"):
        app.composer.focus()
    else:
        app.tell(word, said)
    app.talk.trust_moved()
    app.draw()


def offered_commands(app: ChatApp) -> Iterator[SystemCommand]:
    """All of them for the palette, and what it offers beside."""
    yield SystemCommand("Theme", "change the colours", app.action_change_theme)
    yield SystemCommand("Keys", "all keys", app.action_keys)
    yield SystemCommand("Quit", "end; what is not sent goes out the next time", app.action_quit)
    for word, command in COMMANDS.items():
        yield SystemCommand(f"{word} {command.usage}".strip(), command.help, partial(_begin, app, word))


async def _begin(app: ChatApp, word: str) -> None:
    """Do a command, or let the person write what it needs."""
    if COMMANDS[word].usage and not COMMANDS[word].usage.startswith("["):
        app.composer.put(f"{word} ")
        app.composer.focus()
    else:
        await run_command(app, word)


async def _keys(app: ChatApp, rest: str) -> bool:
    app.action_keys()
    return True


async def _chats(app: ChatApp, rest: str) -> bool:
    app.main_screen.remove_class("-in-room")
    app.chat_list.focus()
    return True


async def _history(app: ChatApp, rest: str) -> bool:
    app.view.focus()
    app.view.action_page(-1)
    return True


async def _file(app: ChatApp, rest: str) -> bool:
    first, *caption = quoted(rest) or [""]
    app.action_attach(first, " ".join(caption))
    return True


async def _search(app: ChatApp, rest: str) -> bool:
    app.action_find(False, rest)
    return True


async def _who(app: ChatApp, rest: str) -> bool:
    app.action_members()
    return True


async def _verify(app: ChatApp, rest: str) -> bool:
    if not rest and app.room is not None:
        app.action_verify()
        return True
    return False


async def _retry(app: ChatApp, rest: str) -> bool:
    if app.room is None:
        return False
    failed = [one for one in app.room.records if one.failed and one.sender == app.client.device]
    for record in failed:
        await retry(app, record)
    if not failed:
        app.say("nothing here failed")
    return True


# Each is given what follows the word, and says whether that was all.
_BETTER: Final[dict[str, Callable[[ChatApp, str], Awaitable[bool]]]] = {
    "/help": _keys,
    "/chats": _chats,
    "/history": _history,
    "/file": _file,
    "/search": _search,
    "/who": _who,
    "/verify": _verify,
    "/retry": _retry,
}
