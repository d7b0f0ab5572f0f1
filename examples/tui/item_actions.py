"""What can be done with what is selected among the messages."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from examples.chat.lines import Who, file_name
from examples.tui.attach import SaveAs
from examples.tui.dialog import Notice
from examples.tui.feed import Changed, Item, Said, Sending
from examples.tui.opener import is_harmless, open_file
from whisperkit.client.content import Attachment, Text
from whisperkit.client.history import Record
from whisperkit.client.reading import Reached
from whisperkit.ids import UserId

if TYPE_CHECKING:
    from examples.tui.app import ChatApp

__all__ = ["do_with", "how_far_in_words", "retry"]

# With more members, only numbers; with more than that, receipts are not asked for.
NAMED_UPTO: Final = 200


async def do_with(app: ChatApp, action: str, item: Item | None) -> None:
    """Do something with an item."""
    match item, action:
        case _, "next_hit":
            await app.search.step(1)
        case _, "previous_hit":
            await app.search.step(-1)
        case None, _:
            app.say("nothing is selected: the arrow keys select a message")
        case Changed(), "compare":
            app.action_verify()
        case Changed(event, _, _), "accept":
            await app.attempt("not accepted", partial(app.desk.settle, event))
            app.talk.trust_moved()
            app.changed(line.conv for line in app.desk.chats)
        case Sending(), "pause":
            app.transfers.pause_or_go_on(item.number)
        case Sending(), "delete":
            await app.transfers.give_up(item.number)
        case Said(), _ if action in _WITH_RECORD:
            await _WITH_RECORD[action](app, item.record)
        case _:
            app.say("that cannot be done with this")


async def retry(app: ChatApp, record: Record) -> None:
    """Send a message again that was not sent; it takes the place of the one that failed."""
    if not record.failed:
        app.say("this was sent, or will be by itself")
    elif await app.attempt("not sent", partial(app.client.retry, record.conv, record.message_id)):
        await _forget(app, record)


async def _delete(app: ChatApp, record: Record) -> None:
    if record.failed:
        await _forget(app, record)
    else:
        app.say("only what was not sent can be thrown away: others have the rest")


async def _forget(app: ChatApp, record: Record) -> None:
    if await app.attempt("not deleted", partial(app.client.discard, record.conv, record.message_id)):
        if app.room is not None and app.room.conv == record.conv:
            app.room.drop(record)
        await app.desk.read_again(record.conv)
        app.draw()


async def _copy(app: ChatApp, record: Record) -> None:
    what = record.what
    text = what.text if isinstance(what, Text) else what.caption if isinstance(what, Attachment) else ""
    app.copy_to_clipboard(text)
    app.say("copied")


async def _info(app: ChatApp, record: Record) -> None:
    if record.sender != app.client.device:
        app.say("how far a message has come is told for those of this device")
        return
    reached = await app.client.reached_by(record.conv, record.message_id)
    written = f"written {app.feed.day_and_clock(record.at_ms)}"
    app.push_screen(Notice("How far it has come", [written, *how_far_in_words(record, reached, app.names.name_of)]))


def how_far_in_words(record: Record, reached: Reached, who: Who) -> list[str]:
    """Who has an own message and who has read it: by name, or in numbers where these are many."""
    if record.failed:
        return [f"not sent: {record.failed}"]
    if not record.seq:
        return ["waits to be sent"]
    if not reached.audience:
        return ["sent; in a group of this size nobody is asked who has it"]
    if len(reached.audience) > NAMED_UPTO:
        delivered, read = len(reached.delivered), len(reached.read)
        return [f"delivered to {delivered:,} of {len(reached.audience):,}, read by {read:,}"]
    groups: list[tuple[str, frozenset[UserId]]] = [
        ("read by", reached.read),
        ("delivered to", reached.delivered - reached.read),
        ("not yet at", reached.audience - reached.delivered),
    ]
    lines = [f"{words}: {', '.join(sorted(map(who, users)))}" for words, users in groups if users]
    if reached.delivered - reached.read:
        lines.append("Who has it and is not said to have read it may have switched that off.")
    return lines


async def _save(app: ChatApp, record: Record) -> None:
    what = record.what
    if not isinstance(what, Attachment):
        app.say("there is no file in this message")
        return

    async def save(path: Path | None) -> None:
        if path is not None:
            await _download(app, what, path)

    app.push_screen(SaveAs(app.folder / file_name(what.pointer.name)), save)


async def _open(app: ChatApp, record: Record) -> None:
    what = record.what
    if not isinstance(what, Attachment):
        await _info(app, record)
        return
    if not is_harmless(what.pointer.media_type, what.pointer.name):
        app.say("this may be a program, so it is not opened: s saves it", is_bad=True)
        return
    folder = Path(await anyio.to_thread.run_sync(partial(tempfile.mkdtemp, dir=app.opened.name)))
    path = folder / file_name(what.pointer.name)
    if await _download(app, what, path) and not await open_file(path):
        app.say("there is no program here that opens it: s saves it", is_bad=True)


async def _download(app: ChatApp, attachment: Attachment, path: Path) -> bool:
    app.say(f"loading {path.name}")
    if not await app.attempt("not saved", partial(app.phone.save_file, attachment, path)):
        return False
    app.say(f"saved {path}")
    return True


_WITH_RECORD: Final[dict[str, Callable[[ChatApp, Record], Awaitable[None]]]] = {
    "retry": retry,
    "delete": _delete,
    "copy": _copy,
    "info": _info,
    "save": _save,
    "open": _open,
}
