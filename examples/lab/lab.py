"""The lab as one object: a server, two wires, two phones, and what is told of them to whoever looks."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

from examples.lab.bubbles import Json
from examples.lab.counter import Counter
from examples.lab.decisions import Recorder
from examples.lab.fates import Fates
from examples.lab.phones import LABELS, NAMES, USERS, LabPhone
from examples.lab.server import LabServer, LookError
from examples.lab.wire import Carried, Queue, Wire

__all__ = ["HISTORY", "Lab", "LabError", "open_lab"]

log = logging.getLogger("examples.lab")

# How much of a conversation a page gets unasked, and how many frames that went on.
HISTORY: Final = 100
SHOWN_FRAMES: Final = 50
# The server is looked at when a frame has passed, and not more often than this.
_LOOK_EVERY_S: Final = 0.15
_LOOK_AT_LEAST_S: Final = 1.0
_SET_UP_S: Final = 30.0


class LabError(Exception):
    """The lab cannot be set up."""


class Lab:
    """Holds everything.

    Args:
        folder: Where server and phones keep what they have.
        seed: Decides what becomes of frames.
        speed: How fast they travel at first.

    Attributes:
        tell: Tells the page something; set by whoever has one.
        seen: What the server was seen to have, the last time it let itself be looked at.
    """

    def __init__(self, folder: Path, *, seed: int, speed: int = 2) -> None:
        self.seed = seed
        self.tell: Callable[[Json], None] = lambda _told: None
        self.fates = Fates(Random(seed), speed=3)
        self.queue = Queue()
        self.counter = Counter()
        self.server = LabServer(folder / "server", changed=self._server_changed)
        self.wires = [
            Wire(number, self.fates, self.queue, server=lambda: self.server.url, observe=self._observe)
            for number in range(len(NAMES))
        ]
        self.phones = [self.make_phone(number, folder / "phones") for number in range(len(NAMES))]
        self.recorder = Recorder(seed, now=time.monotonic)
        # The newest frames and those that wait, by number: a page that is loaded again shows them.
        self._frames: dict[int, Json] = {}
        self._speed = speed
        self._is_told = False
        self.seen: Json = {"rows": [], "inboxes": [], "marks": [], "conversation": "", "head": 0, "fanned_out": 0}
        self._told: Json = {}
        self._stale = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def make_phone(self, number: int, folder: Path) -> LabPhone:
        """Make one of the phones; a test makes one that does not do what it should."""
        return LabPhone(number, folder, self.wires[number], counter=self.counter, tell=self._tell)

    # ---- its life ----

    async def start(self) -> None:
        """Start the server, switch the phones on, and let them have a conversation.

        Raises:
            LabError: It took too long.
            ServerStoppedError: The server cannot serve.
        """
        await self.server.start()
        for wire in self.wires:
            await wire.open()
        alice, bob = self.phones
        for phone in self.phones:
            await phone.open()
            if not await phone.client.wait_live(timeout_s=_SET_UP_S):
                raise LabError(f"a phone was not live within {_SET_UP_S:.0f} s")
        alice.conv = bob.conv = await alice.client.create_group([USERS[1]])
        for phone in self.phones:
            await self._until(phone, len(USERS))
        for phone in self.phones:
            phone.join(alice.conv)
        self.fates.speed = self._speed
        self.recorder = Recorder(self.seed, now=time.monotonic)
        self._is_told = True
        self._looking = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """End everything."""
        self._is_told = False
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for phone in self.phones:
            await phone.close()
        for wire in self.wires:
            await wire.close()
        await self.server.stop()

    async def _until(self, phone: LabPhone, members: int) -> None:
        """Wait until a phone knows so many members."""
        deadline = time.monotonic() + _SET_UP_S
        while not await phone.has_members(members):
            if time.monotonic() > deadline:
                raise LabError(f"a phone did not hear of the conversation within {_SET_UP_S:.0f} s")
            await asyncio.sleep(0.02)

    # ---- what a page is told ----

    async def everything(self) -> list[Json]:
        """What a new page has to know."""
        phones = [
            {"phone": number, "name": name, "device": label}
            for number, (name, label) in enumerate(zip(NAMES, LABELS, strict=True))
        ]
        told: list[Json] = [{"kind": "hello", "seed": self.seed, "phones": phones}, self.controls()]
        for phone in self.phones:
            told += [await phone.hearing.state(), await phone.history(None, HISTORY), *phone.files.rows()]
        return [*told, self._server_part(), *self._frames.values()]

    def controls(self) -> Json:
        """How the buttons are."""
        fates = self.fates
        return {
            "kind": "controls",
            "lose": fates.lose,
            "double": fates.double,
            "reorder": fates.reorder,
            "slow": fates.slow,
            "step": fates.step,
            "speed": fates.speed,
        }

    def _tell(self, told: Json) -> None:
        if self._is_told:
            self.tell(told)
            self._stale.set()

    # ---- the wires ----

    def _observe(self, carried: Carried) -> None:
        if not self._is_told:
            return
        fate = "waiting" if carried.fate is None else carried.fate.value
        told: Json = {
            "kind": "frame",
            "id": carried.number,
            "phone": carried.phone,
            "way": carried.way,
            "name": carried.name or "?",
            "bytes": carried.size,
            "fate": fate,
            "at_ms": time.time_ns() // 1_000_000,
        }
        self._keep(told)
        if carried.fate is not None:
            self.recorder.frame(LABELS[carried.phone], carried.way, carried.fate)
        self._tell(told)

    def _keep(self, told: Json) -> None:
        self._frames.pop(told["id"], None)  # one that waited is among the newest now
        self._frames[told["id"]] = told
        gone = [number for number, one in self._frames.items() if one["fate"] != "waiting"][:-SHOWN_FRAMES]
        for number in gone:
            del self._frames[number]

    def slow(self, *, is_on: bool) -> None:
        """Let everything take long, or not any more."""
        self.fates.slow = is_on
        if is_on:
            self.recorder.slow_down()
        else:
            self.recorder.speed_up()

    def step_by_step(self, *, is_on: bool) -> None:
        """Let a person decide when a frame goes on, or let all go."""
        self.fates.step = is_on
        if not is_on:
            self.queue.release()

    # ---- people ----

    async def fly(self, phone: LabPhone, *, is_on: bool) -> None:
        """Let somebody take off, or land."""
        if is_on == phone.hearing.in_the_air:
            return
        if is_on:
            self.recorder.fly(LABELS[phone.number])
            await phone.fly()
        else:
            await phone.land()
            self.recorder.land(LABELS[phone.number])

    async def change_members(self, *, is_in: bool) -> None:
        """Let Alice add or remove Bob.

        Raises:
            LabError: That he is already.
        """
        alice, bob = self.phones
        users = [bob.device.user]
        if await alice.has_members(len(USERS)) == is_in:
            raise LabError(f"{NAMES[1]} is {'in the group' if is_in else 'out of the group'} already")
        await alice.client.change_members(alice.conv, added=users if is_in else (), removed=() if is_in else users)
        self.recorder.members(LABELS[0], "add" if is_in else "remove", NAMES[1].lower())

    async def reinstall(self, phone: LabPhone) -> None:
        """Give somebody a new phone under the number of the old one.

        Raises:
            LookError: The server is down.
            LabError: Something is on its way from or to the old phone, and would be lost with it.
        """
        name = NAMES[phone.number]
        await self.look()
        box = self.seen["inboxes"][phone.number]
        if not phone.has_shown(box["head"]) or phone.hearing.bubbles.waiting:
            raise LabError(f"{name}'s old phone has to have and to have sent everything first: let it be live")
        await phone.exchange()
        await self._let_in(phone)
        await self._until(phone, len(USERS))
        phone.join(self.phones[0].conv)
        self.recorder.remark(f"{LABELS[phone.number]} was set up anew; there are no keys in the simulator")

    async def _let_in(self, phone: LabPhone) -> None:
        """Tell the server of a new phone; the old one is gone, so there is no way back if it is killed just now."""
        key, registration_id = await phone.client.identity()
        deadline = time.monotonic() + _SET_UP_S
        while True:
            try:
                return await self.server.replace(phone.device, key, registration_id)
            except LookError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_LOOK_EVERY_S)

    # ---- the server ----

    def _server_changed(self) -> None:
        if self.server.is_up:
            self.recorder.restart()
        else:
            self.recorder.kill()
        self._tell(self._server_part())

    async def _keep_looking(self) -> None:
        while True:
            self._stale.clear()
            try:
                await self.look()
            except LookError as error:
                log.info("not looked at", extra={"reason": str(error)})
            part = self._server_part()
            if part != self._told:
                self._told = part
                self.tell(part)
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                async with asyncio.timeout(_LOOK_AT_LEAST_S):
                    await self._stale.wait()
            except TimeoutError:
                pass

    async def look(self) -> None:
        """Look at the server's rows, and see what follows from them for the numbers.

        Raises:
            LookError: It is down.
        """
        asked_of = self.counter.highest
        seen = await self.server.look(self.phones[0].conv, [phone.device for phone in self.phones])
        self.seen = _named(seen)
        self.counter.server_has(seen["head"], of=asked_of)
        for phone, box in zip(self.phones, seen["inboxes"], strict=True):
            if phone.has_shown(box["head"]):
                self.counter.reach(phone.number, seen["fanned_out"])

    def _server_part(self) -> Json:
        is_up = self.server.is_up
        pid = self.server.pid if is_up else 0
        return {"kind": "server", "up": is_up, "pid": pid, **self.seen, "counter": self.counter.counts._asdict()}


def _named(seen: Json) -> Json:
    """The same with names for ids, wherever one stands."""
    text = json.dumps(seen)
    for user, name in zip(USERS, NAMES, strict=True):
        text = text.replace(user, name.lower())
    named: Json = json.loads(text)
    return named


@asynccontextmanager
async def open_lab(folder: Path, *, seed: int, speed: int = 2, lab_type: type[Lab] = Lab) -> AsyncGenerator[Lab]:
    """Have a lab while the block runs.

    Raises:
        LabError: It cannot be set up.
        ServerStoppedError: The server cannot serve.
    """
    lab = lab_type(folder, seed=seed, speed=speed)
    try:
        await lab.start()
        yield lab
    finally:
        await lab.stop()
