"""Who is in the open conversation, for the dialogs about that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from examples.chat.lines import last_seen
from examples.chat.qr import qr_lines
from examples.tui.glyphs import ASCII
from examples.tui.members import Person
from examples.tui.verify import Shown
from whisperkit.client.events import ConnectionState
from whisperkit.errors import NoSessionError
from whisperkit.ratchet import SafetyNumber

if TYPE_CHECKING:
    from examples.tui.app import ChatApp

__all__ = ["members_of", "safety_numbers"]

MAX_SHOWN: Final = 200
# What a dialog needs at the sides of a code.
AROUND: Final = 6


async def members_of(app: ChatApp) -> tuple[list[Person], int, bool]:
    """The others in the open conversation, how many there are with this user, and whether it is a group."""
    own = app.client.device.user
    try:
        members = await app.desk.members()
    except ValueError:  # a group that was left
        members = ()
    people: list[Person] = []
    for user in [one for one in members if one != own][:MAX_SHOWN]:
        seen = last_seen(app.client.presence(user), now_ms=app.desk.wall_ms())
        is_known = app.client.state is ConnectionState.LIVE and seen != "not known"
        mark = f"{app.glyphs.verified} verified" if await app.client.are_verified(user) else ""
        people.append(Person(app.names.name_of(user), "  ".join(filter(None, (seen if is_known else "", mark)))))
    is_group = app.desk.here is not None and await app.desk.other_in(app.desk.here) is None
    return people, len(members), is_group


async def safety_numbers(app: ChatApp) -> list[Shown]:
    """The safety numbers of all devices of the others in the open conversation.

    Raises:
        TransportError: Which devices they have is not known, and cannot be asked.
    """
    own = app.client.device.user
    try:
        users = [user for user in await app.desk.members() if user != own]
    except ValueError:  # no conversation is open, or a group was left
        return []
    devices = await app.client.devices_of(users)
    shown: list[Shown] = []
    for device in devices:
        is_only = sum(one.user == device.user for one in devices) == 1
        name = app.names.name_of(device.user) + ("" if is_only else f".{device.number}")
        try:
            number = await app.client.safety_number(device)
            shown.append(Shown(name, number, await app.client.is_verified(device), _code(app, number)))
        except NoSessionError:
            shown.append(Shown(name, None, False))
    return shown


def _code(app: ChatApp, number: SafetyNumber) -> Text | None:
    if app.no_color or app.glyphs is ASCII:
        return None  # it is black on white, and made of blocks
    lines = qr_lines(number.scannable, columns=app.size.width - AROUND)
    return Text.from_ansi("\n".join(lines)) if lines else None
