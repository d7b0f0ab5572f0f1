"""`chat NAME --plain`: whole lines, no boxes, no redraw: for pipes, screen readers and scripts.

    14:07 bob: where are you?
    14:08 you, sent: at the gate
    not sent: not member. Type /retry

What is typed is sent to the open conversation; lines that begin with ``/`` are commands, and ``/help`` lists them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

import anyio

from examples.device import Phone, open_phone
from whisperkit.client.content import Attachment, Text
from whisperkit.client.events import ConnectionChanged, ConnectionState, Event, IdentityChanged, Recorded
from whisperkit.client.history import Note, Record
from whisperkit.errors import WhisperError
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId

__all__ = ["chat"]

HELP: Final = """\
/to NAME            write to somebody
/group A B ...      make a group with these people, and write to it
/file PATH          send a file
/open N             save the Nth file of this conversation, counted from the last
/who                who is here, and how they are
/search WORDS       search on this device
/verify             the safety number with the other side
/read               say that all here is read
/retry              send again what was not sent
/leave              leave this group
/quit               end"""


def chat(name: str, *, url: str, folder: Path, is_plain: bool) -> int:
    """Chat; returns the exit code."""
    if not is_plain:
        print("the full-screen client is not in this version; going on plainly")
    try:
        asyncio.run(_run(name, url, folder))
    except KeyboardInterrupt:
        return 130
    return 0


async def _run(name: str, url: str, folder: Path) -> None:
    async with open_phone(folder, name, url=url) as phone:
        await PlainChat(phone, name).run()


class PlainChat:
    """A conversation in lines.

    Args:
        phone: The device.
        name: Its user.
    """

    def __init__(self, phone: Phone, name: str) -> None:
        self._phone = phone
        self._client = phone.client
        self._name = name
        self._names: dict[UserId, str] = {phone.client.device.user: "you"}
        self._open: ConversationId | None = None
        self._told: set[tuple[MessageId, int, str]] = set()

    async def run(self) -> None:
        """Read lines until the input ends or says /quit."""
        shown = asyncio.create_task(self._show())
        try:
            while line := await asyncio.to_thread(sys.stdin.readline):
                if line.strip() == "/quit":
                    return
                if line.strip():
                    await self._take(line.strip())
            # A script's last lines are still on their way.
            await self._until_sent()
        finally:
            shown.cancel()

    async def _until_sent(self) -> None:
        for _ in range(100):
            if self._open is None:
                return
            waiting = [record for record in await self._client.history(self._open) if _is_waiting(record)]
            if not waiting:
                return
            await asyncio.sleep(0.1)

    # ---- what comes ----

    async def _show(self) -> None:
        async for event in self._client.events():
            self._show_event(event)

    def _show_event(self, event: Event) -> None:
        match event:
            case Recorded(record, _):
                self._show_record(record)
            case ConnectionChanged(ConnectionState.LIVE, _):
                _print("● live")
            case ConnectionChanged(ConnectionState.OFFLINE, retry_in_s) if retry_in_s is not None:
                _print(f"○ offline, next try in {retry_in_s:.0f} s")
            case ConnectionChanged(ConnectionState.REPLACED, _):
                _print("■ replaced by another connection of this device")
            case ConnectionChanged(ConnectionState.REFUSED, _):
                _print(f"■ refused: the name {self._name} is another device's")
            case IdentityChanged(device, was_verified):
                _print(f"! {self._who(device)} has a new safety number" + ("; blocked" if was_verified else ""))
            case _:
                pass

    def _show_record(self, record: Record) -> None:
        key = record.message_id, record.seq, record.failed
        if key in self._told:
            return
        self._told.add(key)
        what = self._words(record)
        if what is None:
            return
        if record.sender == self._client.device and record.note is Note.MESSAGE:
            if record.failed:
                _print(f"not sent: {record.failed}. Type /retry")
            elif record.seq:
                _print(f"{_clock(record)} you, sent: {what}")
            return
        _print(f"{_clock(record)} {self._who(record.sender)}: {what}")

    def _words(self, record: Record) -> str | None:
        if record.note is Note.UNREADABLE:
            return "⧖ waiting for this message; asked for it again"
        if record.note is Note.ROSTER:
            return "the members changed"
        match record.what:
            case Text(text, _):
                return text
            case Attachment(_, pointer, caption):
                return f"▤ {pointer.name}, {pointer.size:,} bytes {caption}".rstrip()
            case _:
                return None

    def _who(self, device: DeviceId | None) -> str:
        return "the server" if device is None else self._names.get(device.user, device.user[:8])

    # ---- what is typed ----

    async def _take(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        try:
            if not line.startswith("/"):
                await self._client.send(self._here(), line)
                return
            match command:
                case "/to":
                    await self._to(rest.strip())
                case "/group":
                    self._open = await self._client.create_group([self._user(name) for name in rest.split()])
                    _print(f"group {self._open[:8]} with {rest}")
                case "/file":
                    await self._phone.send_file(
                        self._here(), Path(await anyio.Path(rest).expanduser()), media_type="application/octet-stream"
                    )
                case "/open":
                    await self._save(int(rest or "1"))
                case "/who":
                    await self._list_members()
                case "/search":
                    for snippet in await self._phone.search(rest):
                        _print(f"found: {snippet}")
                case "/verify":
                    await self._verify()
                case "/read":
                    await self._client.mark_read(self._here(), 1 << 40)
                case "/retry":
                    await self._retry()
                case "/leave":
                    await self._client.leave(self._here())
                case _:
                    _print(HELP)
        except (WhisperError, OSError, ValueError) as error:
            _print(f"{command}: {error}")

    def _here(self) -> ConversationId:
        if self._open is None:
            raise ValueError("say to whom first: /to NAME or /group NAMES")
        return self._open

    def _user(self, name: str) -> UserId:
        user = UserId.named(name)
        self._names.setdefault(user, name)
        return user

    async def _to(self, name: str) -> None:
        self._open = await self._client.direct(self._user(name))
        for record in await self._client.history(self._open, limit=20):
            self._show_record(record)
        _print(f"writing to {name}")

    async def _save(self, number: int) -> None:
        found = [r.what for r in await self._client.history(self._here(), limit=1_000)]
        files = [what for what in found if isinstance(what, Attachment)]
        attachment = files[-number]
        # The name is the sender's word: only its last part, and never over a file that is there.
        path = Path(Path(attachment.pointer.name).name or "file")
        if await anyio.Path(path).exists():
            raise ValueError(f"{path} is there already")
        size = await self._phone.save_file(attachment, path)
        _print(f"saved {path}, {size:,} bytes")

    async def _list_members(self) -> None:
        members = (await self._client.chat(self._here())).membership
        if members is None:
            _print("nobody yet: the first message makes the conversation")
            return
        self._client.watch([user for user in members.members if user != self._client.device.user][:100])
        await asyncio.sleep(0.5)
        for user in members.members:
            presence = self._client.presence(user).state.name.lower()
            _print(f"{self._names.get(user, user[:8])}: {'here' if user == self._client.device.user else presence}")

    async def _verify(self) -> None:
        members = (await self._client.chat(self._here())).membership
        for user in members.members if members is not None else ():
            if user != self._client.device.user:
                digits = (await self._client.safety_number(DeviceId(user, 1))).digits
                groups = " ".join(digits[n : n + 5] for n in range(0, 60, 5))
                _print(f"safety number with {self._names.get(user, user[:8])}: {groups}")

    async def _retry(self) -> None:
        for record in await self._client.history(self._here()):
            if record.failed:
                await self._client.retry(record.conv, record.message_id)


def _is_waiting(record: Record) -> bool:
    return not record.seq and not record.failed


def _clock(record: Record) -> str:
    return time.strftime("%H:%M", time.localtime(record.at_ms / 1_000))


def _print(line: str) -> None:
    print(line, flush=True)
