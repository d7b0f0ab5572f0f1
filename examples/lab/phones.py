"""Alice's and Bob's phones: real clients, each behind a wire of its own, and what people do with them."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from examples.adapters.sealed_lock import KEY_BYTES, KeyLock
from examples.device import Phone, open_phone
from examples.lab.bubbles import Json, message_name
from examples.lab.counter import Counter
from examples.lab.files import LabFiles
from examples.lab.hearing import Hearing
from examples.lab.server import BEAT_S
from examples.lab.wire import Wire
from whisperkit.client import Client
from whisperkit.client.events import ConnectionState
from whisperkit.errors import UsageError
from whisperkit.ids import ConversationId, DeviceId, UserId

__all__ = ["LABELS", "NAMES", "USERS", "LabPhone", "UntrustedError"]

log = logging.getLogger("examples.lab")

NAMES: Final = ("Alice", "Bob")
USERS: Final = tuple(UserId.named(name.lower()) for name in NAMES)
LABELS: Final = tuple(f"{name.lower()}.1" for name in NAMES)


class UntrustedError(Exception):
    """Nothing is sent before a person has chosen."""


class LabPhone:
    """A phone.

    Args:
        number: 0 for Alice's, 1 for Bob's.
        folder: Where phones are kept.
        wire: What it is connected to.
        counter: Told of what it sends and shows.
        tell: Tells the page.
    """

    def __init__(
        self, number: int, folder: Path, wire: Wire, *, counter: Counter, tell: Callable[[Json], None]
    ) -> None:
        self.number = number
        self.device = DeviceId(USERS[number], 1)
        self.other = DeviceId(USERS[1 - number], 1)
        self.wire = wire
        self.conv = ConversationId("none")
        self._folder = folder / NAMES[number].lower()
        self._counter = counter
        self._tell = tell
        self._phone: Phone | None = None
        self._life: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._hearing: Hearing | None = None
        self._files: LabFiles | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # ---- its life ----

    @property
    def phone(self) -> Phone:
        """The device."""
        assert self._phone is not None  # it is open
        return self._phone

    @property
    def client(self) -> Client:
        """Its client."""
        return self.phone.client

    @property
    def hearing(self) -> Hearing:
        """What it shows."""
        assert self._hearing is not None  # it has joined
        return self._hearing

    @property
    def files(self) -> LabFiles:
        """Its files."""
        assert self._files is not None  # it has joined
        return self._files

    async def open(self, *, is_exchanged: bool = False) -> None:
        """Switch it on.

        Args:
            is_exchanged: It is a new one of somebody who has an account, and waits until it is let in.
        """
        self._over = asyncio.Event()
        is_open: asyncio.Future[Phone] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(is_open, self._over, is_exchanged=is_exchanged))
        self._phone = await is_open

    async def _live(self, is_open: asyncio.Future[Phone], over: asyncio.Event, *, is_exchanged: bool) -> None:
        """The life of a device is one task: the scopes that it opens are closed where they were opened."""
        opening = open_phone(
            self._folder,
            NAMES[self.number].lower(),
            url=self.wire.url,
            files_url=self.wire.files_url,
            lock=KeyLock(os.urandom(KEY_BYTES)),
            is_linked=is_exchanged,
            beat_s=BEAT_S,
        )
        try:
            async with opening as phone:
                is_open.set_result(phone)
                await over.wait()
        except Exception as error:
            if is_open.done():
                raise
            is_open.set_exception(error)  # told to whoever wants it open

    def join(self, conv: ConversationId) -> None:
        """Show a conversation from here on."""
        self.conv = conv
        self._hearing = Hearing(
            self.client,
            conv,
            phone=self.number,
            users=USERS,
            names=NAMES,
            counter=self._counter,
            tell=self._tell,
        )
        self._files = LabFiles(
            self.phone,
            conv,
            self._folder / "files",
            bubbles=self._hearing.bubbles,
            counter=self._counter,
            tell=self._tell,
            wire=self.wire,
        )
        self._tasks = [asyncio.create_task(self._stay(work)) for work in (self._hearing.run, self._files.run)]

    async def _stay(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something as long as the phone is on; what fails is told, because nobody waits for it."""
        try:
            await work()
        except Exception:
            log.exception("a phone's screen failed")
            self._tell({"kind": "said", "text": f"{NAMES[self.number]}'s phone failed; the log says why", "bad": True})

    async def close(self) -> None:
        """Switch it off."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._life is not None:
            self._over.set()
            await self._life
        self._life = None

    async def exchange(self) -> None:
        """Throw it away, and switch a new one on that knows nothing."""
        await self.close()
        await asyncio.to_thread(shutil.rmtree, self._folder)
        self._counter.exchange(self.number)
        self._tell({"kind": "empty", "phone": self.number})
        await self.open(is_exchanged=True)

    # ---- what people do ----

    async def fly(self) -> None:
        """Off the net."""
        self.hearing.in_the_air = True
        self.wire.take_down()
        await self.client.stop()
        self.hearing.look_again()

    async def land(self) -> None:
        """On the net again."""
        self.hearing.in_the_air = False
        self.wire.put_up()
        await self.client.start()
        self.hearing.look_again()

    async def write(self, text: str) -> None:
        """Write a message.

        Raises:
            UsageError: It is empty, or too long.
            UntrustedError: The other one has another safety number than was compared, and nobody has chosen yet.
        """
        if await self.client.undecided(self.other.user):
            raise UntrustedError("not sent: choose first what to do about the new safety number")
        self._counter.write(message_name(await self.client.send(self.conv, text)))

    async def retry(self, name: str) -> None:
        """Send what failed again: a message as a new one, a file as it is.

        Raises:
            UsageError: It has not failed.
        """
        if self.files.holds(name):
            self.files.retry(name)
            return
        record = self.hearing.bubbles.records.get(name)
        if record is None:
            raise UsageError("there is no such message")
        self._counter.write(message_name(await self.client.retry(self.conv, record.message_id)))
        await self.discard(name)

    async def discard(self, name: str) -> None:
        """Throw away what failed.

        Raises:
            UsageError: It has not failed.
        """
        if self.files.holds(name):
            await self.files.cancel(name)
            return
        record = self.hearing.bubbles.records.get(name)
        if record is None:
            raise UsageError("there is no such message")
        await self.client.discard(self.conv, record.message_id)
        self.hearing.bubbles.drop(name)
        self._tell({"kind": "gone", "phone": self.number, "id": name})
        self.hearing.look_again()

    async def see(self, name: str) -> bool:
        """A message was before somebody's eyes; false if there is nothing to say of that."""
        record = self.hearing.bubbles.records.get(name)
        if record is None or not record.seq or record.sender == self.device:
            return False
        if record.seq <= (await self.client.chat(self.conv)).progress.read_upto:
            return False
        await self.client.mark_read(self.conv, record.seq)
        self.hearing.look_again()
        return True

    async def history(self, before: str | None, count: int) -> Json:
        """A part of the conversation: the end of it, or what is before a message."""
        bubbles = self.hearing.bubbles
        record = None if before is None else bubbles.records.get(before)
        if record is not None and not record.seq:
            record = None  # what waits is behind everything
        found = await self.client.history(self.conv, before=record, limit=count)
        rows = [bubbles.row(one) for one in found]
        shown = [row for row in rows if row is not None]
        return {"kind": "history", "phone": self.number, "messages": shown, "more": len(found) == count}

    async def verify(self) -> None:
        """The two people have compared their numbers, and they are the same.

        Raises:
            NoSessionError: Nothing was written yet.
        """
        await self._accept()
        await self.client.mark_verified(await self.client.safety_number(self.other))
        self.hearing.trust_moved()

    async def accept(self) -> None:
        """The person goes on with a number that has changed, without having compared it."""
        await self._accept()
        self.hearing.trust_moved()

    async def _accept(self) -> None:
        for event in await self.client.undecided(self.other.user):
            await self.client.accept_identity(event.device, event.identity_key)

    async def has_members(self, count: int) -> bool:
        """Whether it knows the conversation with so many members."""
        membership = (await self.client.chat(self.conv)).membership
        return membership is not None and len(membership.members) == count

    @property
    def is_live(self) -> bool:
        """Whether it has all that the server has for it, as far as it knows."""
        return self.client.state is ConnectionState.LIVE

    def has_shown(self, head: int) -> bool:
        """Whether it has shown all of its inbox up to there."""
        cursor = self.client.cursor
        return self.is_live and cursor is not None and cursor.seq >= head and self.hearing.has_heard_all
