"""What the application asks its person in dialogs, and what it does with the answers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from examples.chat.lines import harmless
from examples.device_search import Hit
from examples.tui.attach import Attach
from examples.tui.find import Find
from examples.tui.glyphs import said_with
from examples.tui.go_to import GoTo, NewChat
from examples.tui.members import Members
from examples.tui.people import members_of, safety_numbers
from examples.tui.slash import run_command
from examples.tui.verify import Compared, Verify
from whisperkit.errors import TransportError
from whisperkit.ratchet import SafetyNumber

if TYPE_CHECKING:
    from examples.tui.app import ChatApp

__all__ = ["Search", "ask_for_chat", "ask_for_file", "ask_for_members", "ask_for_names", "ask_for_numbers"]


async def ask_for_chat(app: ChatApp) -> None:
    """Ask where to go."""
    conv = await app.push_screen_wait(GoTo(app.desk.chats))
    if conv is not None:
        await app.open_chat(conv)


async def ask_for_names(app: ChatApp) -> None:
    """Ask with whom to talk."""
    names = await app.push_screen_wait(NewChat())
    if names:
        await run_command(app, f"/to {names[0]}" if len(names) == 1 else f"/group {' '.join(names)}")


async def ask_for_file(app: ChatApp, path: str, caption: str) -> None:
    """Ask for a file, and send it."""
    room = app.room
    if room is None:
        app.say_to_whom()
        return
    chosen = await app.push_screen_wait(Attach(path, caption))
    if chosen is not None:
        app.view.to_bottom()
        await app.attempt("not sent", partial(app.transfers.add, room.conv, chosen.path, chosen.caption))


async def ask_for_numbers(app: ChatApp) -> None:
    """Show the safety numbers, to be compared."""
    try:
        shown = await safety_numbers(app)
    except TransportError:
        app.say("the server is asked which devices they have, and there is no connection now", is_bad=True)
        return
    if not shown:
        app.say("nobody is here yet, so there is nothing to compare")
        return

    async def compare(text: str) -> Compared:
        app.desk.said.clear()
        await app.commands.take(f"/verify {text}")
        devices = [one.number.device for one in shown if one.number is not None]
        verified = [device for device in devices if await app.client.is_verified(device)]
        return Compared(said_with(app.glyphs, "\n".join(app.desk.said)), frozenset(verified))

    async def mark(number: SafetyNumber) -> bool:
        return await app.attempt("not noted", partial(app.client.mark_verified, number))

    await app.push_screen_wait(Verify(shown, compare, mark, verified=app.glyphs.verified))
    app.talk.trust_moved()
    app.draw()


async def ask_for_members(app: ChatApp) -> None:
    """Show who is here, and do what is asked for there."""
    if app.room is None:
        app.say("no conversation is open")
        return
    people, total, is_group = await members_of(app)
    command = await app.push_screen_wait(Members(people, total=total, is_group=is_group))
    if command:
        await run_command(app, command)


class Search:
    """Finds messages, and goes from one to the next.

    Args:
        app: The application.
    """

    def __init__(self, app: ChatApp) -> None:
        self._app = app
        self._hits: list[Hit] = []
        self._hit = 0

    async def ask(self, *, is_everywhere: bool, wanted: str) -> None:
        """Ask what to find, and go there."""
        app = self._app
        conv = None if is_everywhere or app.room is None else app.room.conv
        await app.phone.index.fill(app.client)
        titles = {line.conv: line.title for line in app.desk.chats}

        def words(hit: Hit) -> str:
            where = "" if conv is not None else f"{titles.get(hit.conv, '')}  "
            at = f"{app.feed.day_or_clock(hit.at_ms)} {app.names.name_of(hit.sender.user)}"
            return f"{where}{at}: {' '.join(harmless(hit.snippet).split())}"

        where = "all conversations" if conv is None else titles.get(conv, "this conversation")
        find = Find(where, lambda text: app.phone.index.search(text, conv=conv), words, wanted=wanted)
        found = await app.push_screen_wait(find)
        if found is not None:
            self._hits, self._hit = found
            await self._go()

    async def step(self, step: int) -> None:
        """Go to the next thing that was found."""
        if self._hits:
            self._hit = (self._hit + step) % len(self._hits)
            await self._go()
        else:
            self._app.say(f"{self._app.key('find')} finds something first")

    async def _go(self) -> None:
        app, hit = self._app, self._hits[self._hit]
        if app.room is None or app.room.conv != hit.conv:
            await app.open_chat(hit.conv)
        if app.room is not None and await app.room.load_until(hit.message_id):
            await app.draw_now()
            app.view.focus()
            app.view.select_message(hit.message_id)
            app.say(f"{self._hit + 1} of {len(self._hits)}: n next, N previous")
