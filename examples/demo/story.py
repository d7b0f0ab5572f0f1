"""The ten chapters. Alice and Bob have phones, Carol is in the group, and a crowd makes up the numbers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from rich.progress import Progress, TaskID

from examples.adapters.sealed_lock import KEY_BYTES, KeyLock
from examples.demo.crowd import Crowd
from examples.demo.narrator import Narrator
from examples.demo.processes import ServerProcess
from examples.device import Phone, open_phone
from whisperkit.client.content import Attachment, Text
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId
from whisperkit.receipts import MessageStatus
from whisperkit.strategy import Strategy
from whisperkit.sync.frames import PresenceState

__all__ = ["CHAPTERS", "CLAIMS", "Chapter", "Story"]

MEDIA: Final = Path(__file__).parent.parent / "media"
# Nothing waits that long where all is well; a machine that is busy with other things may take half a minute.
PATIENCE_S: Final = 120.0
BEAT_S: Final = 1.0

# Sizes of the three groups: below 200 direct, to 5,000 through the job log, above notified and pulled.
SMALL, MID, MEGA = 30, 250, 6_001

TICKS: Final = {
    MessageStatus.FAILED: "✗",
    MessageStatus.PENDING: "◷",
    MessageStatus.SENT: "✓",
    MessageStatus.DELIVERED: "✓✓",
    MessageStatus.READ: "✔✔",
}


class Story:
    """Tells it.

    Args:
        folder: Where the phones are kept.
        server: The server, running.
        narrator: Speaks and keeps the claims.
        patience_s: How long anything may take before what it was to bring counts as not there.
    """

    def __init__(
        self, folder: Path, server: ServerProcess, narrator: Narrator, *, patience_s: float = PATIENCE_S
    ) -> None:
        self._folder = folder
        self._server = server
        self._say = narrator
        self._patience_s = patience_s
        self._phones = AsyncExitStack()
        self._crowd = Crowd(lambda: server.url)
        self._lock = KeyLock(os.urandom(KEY_BYTES))
        self._sentence = "gate changed to B12, boarding at ten"

    async def tell(self, chapters: Sequence[Chapter] | None = None) -> None:
        """Tell the story, or some chapters of it.

        Args:
            chapters: Methods of this class, in an order in which each has what it needs; all of them without.
        """
        async with self._phones:
            try:
                for place, chapter in enumerate(CHAPTERS if chapters is None else chapters):
                    if place:
                        await self._say.pause()
                    await chapter(self)
            finally:
                await self._crowd.leave()

    # ---- helpers ----

    async def _until(
        self, what: Callable[[], Awaitable[bool]], *, count: Callable[[], int] = lambda: 0, total: int | None = None
    ) -> bool:
        """Look until something is so; false if it is not in time. What is counted is shown when it takes long."""
        return await self._say.watch("waiting", self._look(what), count=count, total=total)

    async def _look(self, what: Callable[[], Awaitable[bool]]) -> bool:
        deadline = time.monotonic() + self._patience_s
        while not await what():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    async def _gather(self, count: int) -> None:
        """Let members connect until there are so many."""
        crowd = self._crowd
        await self._say.watch("members connect", crowd.grow(count), count=lambda: len(crowd.devices), total=count)

    async def _open(self, name: str, number: int = 1, *, is_linked: bool = False) -> Phone:
        return await self._phones.enter_async_context(
            open_phone(
                self._folder / "phones",
                name,
                url=self._server.url,
                lock=self._lock,
                number=number,
                is_linked=is_linked,
                beat_s=BEAT_S,
            )
        )

    async def _status(self, phone: Phone, conv: ConversationId, sent: MessageId, wanted: MessageStatus) -> str:
        """Wait for a tick; returns the glyph that is there."""
        await self._until(lambda: _reached(phone, conv, sent, wanted))
        return TICKS[await phone.client.status(conv, sent)]

    async def _texts(self, phone: Phone, conv: ConversationId, *, limit: int = 1_000) -> list[str]:
        return [text for record in await phone.client.history(conv, limit=limit) if (text := _text(record))]

    async def _await_texts(self, phone: Phone, conv: ConversationId, wanted: Sequence[str]) -> list[str]:
        async def there() -> bool:
            return await self._texts(phone, conv) == list(wanted)

        await self._until(there)
        return await self._texts(phone, conv)

    # ---- chapters ----

    async def two_phones(self) -> None:
        self._say.chapter("Two phones")
        self.alice, self.bob = await self._open("alice"), await self._open("bob")
        for name, phone in (("alice.1", self.alice), ("bob.1", self.bob)):
            is_live = await phone.client.wait_live(timeout_s=self._patience_s)
            self._say.event(name, "● live" if is_live else "○ offline", "identity key registered, prekeys published")
        await asyncio.sleep(0.2)
        self.chat = await self.alice.client.direct(self.bob.client.device.user)
        await self.bob.client.direct(self.alice.client.device.user)
        sent = await self.alice.client.send(self.chat, "are you there?")
        delivered = await self._status(self.alice, self.chat, sent, MessageStatus.DELIVERED)
        self._say.event("alice.1", f'"are you there?"   ◷ → ✓ → {delivered}', f"conversation {self.chat[:4]}")
        await self.bob.client.mark_read(self.chat, 1_000)
        read = await self._status(self.alice, self.chat, sent, MessageStatus.READ)
        self._say.event("bob.1", f"reads it            {read}")
        self._say.claim(
            "two ticks once he has it, blue ones once he has read it",
            expected=("✓✓", "✔✔"),
            found=(delivered, read),
            evidence=f"{delivered}, then {read}",
        )
        hers = await self.alice.client.safety_number(self.bob.client.device)
        his = await self.bob.client.safety_number(self.alice.client.device)
        self._say.claim(
            "both phones show the same safety number",
            expected=hers.digits,
            found=his.digits,
            evidence=f"{hers.digits[:5]} {hers.digits[5:10]} … {hers.digits[-5:]}",
        )
        self._sent = ["are you there?"]

    async def files(self) -> None:
        self._say.chapter("A photo and a video")
        for path, media_type in ((MEDIA / "runway.jpg", "image/jpeg"), (MEDIA / "takeoff.mp4", "video/mp4")):
            with self._say.progress() as progress:
                bar = progress.add_task(f"alice.1    ▤ {path.name}", total=path.stat().st_size)
                self.alice.blobs.moved = partial(_show, progress, bar)
                sent, _ = await self.alice.send_file(self.chat, path, media_type=media_type)
                progress.update(bar, completed=path.stat().st_size)
            await self._status(self.alice, self.chat, sent, MessageStatus.DELIVERED)
            attachment = await self._attachment(self.bob, self.chat, sent)
            saved = self._folder / f"bob-{path.name}"
            size = await self.bob.save_file(attachment, saved) if attachment is not None else 0
            self._say.event(
                "bob.1", f"saved {path.name}, {size:,} bytes", attachment.pointer.media_type if attachment else ""
            )
            self._say.claim(
                f"{path.name} arrived unharmed",
                expected=_digest(path),
                found=_digest(saved) if size else "nothing",
                evidence=f"sha-256 of both: {_brief(_digest(path))}",
            )

    async def _attachment(self, phone: Phone, conv: ConversationId, message_id: MessageId) -> Attachment | None:
        for record in await phone.client.history(conv):
            if record.message_id == message_id and isinstance(record.what, Attachment):
                return record.what
        return None

    async def flight(self) -> None:
        self._say.chapter("Bob flies")
        await self.bob.client.stop()
        self._say.event("bob.1", "✈ offline")
        texts = [self._sentence, *(f"message {n} of ten" for n in range(2, 11))]
        ids = [await self.alice.client.send(self.chat, text) for text in texts]
        tick = await self._status(self.alice, self.chat, ids[-1], MessageStatus.SENT)
        self._say.event(
            "alice.1", f'"{self._sentence[:12]}" … nine more   {tick} ×10', "ten wait in the inbox of bob.1"
        )
        still = [await self.alice.client.status(self.chat, one) for one in ids]
        self._say.claim(
            "nothing is called delivered that is not", expected=[MessageStatus.SENT] * 10, found=still, evidence="✓ ×10"
        )
        await self.bob.client.start()
        began = time.monotonic()
        self._sent += texts
        found = await self._await_texts(self.bob, self.chat, self._sent)
        took_ms = (time.monotonic() - began) * 1_000
        self._say.event("bob.1", f"✈ landed, {len(texts)} entries in {took_ms:.0f} ms")
        tick = await self._status(self.alice, self.chat, ids[-1], MessageStatus.DELIVERED)
        self._say.event("alice.1", f"                    {tick} ×10")
        hers = await self._texts(self.alice, self.chat)
        self._say.claim(
            "ten of ten, in order, once",
            expected=(self._sent, self._sent),
            found=(hers, found),
            evidence=f"sha-256 of both histories: {_brief(_hash(hers))} and {_brief(_hash(found))}",
        )

    async def kill(self) -> None:
        self._say.chapter("The server is killed")
        texts = [f"under fire {n}" for n in range(1, 61)]
        ids: list[MessageId] = []
        kills: list[str] = []
        for n, text in enumerate(texts):
            ids.append(await self.alice.client.send(self.chat, text))
            if n in (15, 35):
                await asyncio.sleep(0.1)
                pid = await self._server.kill()
                took_s = await self._server.start()
                kills.append(f"pid {pid} → {self._server.pid} in {took_s:.1f} s")
                self._say.event(
                    "server", f"SIGKILL, restarted: {kills[-1]}", f"after {n + 1} of {len(texts)} were written"
                )
        await self._status(self.alice, self.chat, ids[-1], MessageStatus.DELIVERED)
        acknowledged = sum([await self.alice.client.status(self.chat, one) >= MessageStatus.SENT for one in ids])
        self._sent += texts
        found = await self._await_texts(self.bob, self.chat, self._sent)
        self._say.claim(
            "nothing acknowledged is lost, nothing comes twice",
            expected=(len(texts), self._sent),
            found=(acknowledged, found),
            evidence=f"acknowledged {acknowledged}, found {len(set(found) & set(texts))}, "
            f"doubled {len(found) - len(set(found))}, {len(kills)} kills",
        )

    async def second_device(self) -> None:
        self._say.chapter("Alice's tablet")
        self.tablet = await self._open("alice", 2, is_linked=True)
        key, registration = await self.tablet.client.identity()
        await self._linked(key, registration)
        self._say.event("alice.1", "links alice.2", "signed in by its own identity key")
        await self.tablet.client.wait_live(timeout_s=self._patience_s)
        sent = await self.alice.client.send(self.chat, "from the phone")
        await self._await_texts(self.bob, self.chat, [*self._sent, "from the phone"])
        reply = await self.bob.client.send(self.chat, "seen on both?")
        wanted = ["from the phone", "seen on both?"]
        found = await self._await_texts(self.tablet, self.chat, wanted)
        self._say.event("alice.2", "shows her own message and Bob's answer")
        await self._status(self.alice, self.chat, sent, MessageStatus.DELIVERED)
        await self._status(self.bob, self.chat, reply, MessageStatus.DELIVERED)
        self._sent += wanted
        self._say.claim(
            "the second device sees her own messages",
            expected=wanted,
            found=found,
            evidence="encrypted for each device",
        )

    async def _linked(self, key: bytes, registration: int) -> None:
        async def link() -> bool:
            try:
                await self.alice.client.link_device(2, identity_key=key, registration_id=registration)
            except Exception:  # not drained yet: a device links another only when it has caught up
                return False
            return True

        await self._until(link)

    async def small_group(self) -> None:
        self._say.chapter(f"A group of {SMALL}, direct")
        self.carol = await self._open("carol")
        await self.carol.client.wait_live(timeout_s=self._patience_s)
        await self._gather(SMALL - 3)
        self._say.event("crowd", f"{SMALL - 3} more members connect")
        self.group = await self.alice.client.create_group(
            [self.bob.client.device.user, self.carol.client.device.user, *self._crowd.users[: SMALL - 3]]
        )
        sent = await self.alice.client.send(self.group, "welcome, all thirty")
        tick = await self._status(self.alice, self.group, sent, MessageStatus.DELIVERED)
        tally = await self.alice.client.tally(self.group, sent)
        self._say.event(
            "alice.1", f'"welcome, all thirty"   {tick} {tally.delivered}/{tally.audience}', "one ciphertext"
        )
        self._say.claim(
            f"delivered to {SMALL - 1} of {SMALL - 1}",
            expected=(SMALL - 1, SMALL - 1, SMALL - 3),
            found=(tally.delivered, tally.audience, self._crowd.have(self.group, 1)),
            evidence="Bob and Carol read it, the others hold ciphertext",
        )
        await self._reads(["bob", "carol"], self.group, ["welcome, all thirty"])

    async def _reads(self, names: Sequence[str], conv: ConversationId, wanted: Sequence[str]) -> None:
        phones = {"bob": self.bob, "carol": self.carol}
        found = {name: await self._await_texts(phones[name], conv, wanted) for name in names}
        self._say.claim(
            f"{' and '.join(name.capitalize() for name in names)} can read it",
            expected={name: list(wanted) for name in names},
            found=found,
            evidence=f'"{wanted[-1]}"',
        )

    async def mid_group(self) -> None:
        self._say.chapter(f"A group of {MID}, queued")
        await self._gather(MID - 2)
        self._say.event("crowd", f"{MID - 2} members are connected")
        conv = await self.alice.client.create_group([self.bob.client.device.user, *self._crowd.users[: MID - 2]])
        before = await self._server.count('messages_accepted_total{strategy="queued"}')
        sent = await self.alice.client.send(conv, "through the job log")
        began = time.monotonic()
        await self._status(self.alice, conv, sent, MessageStatus.SENT)
        ticked_ms = (time.monotonic() - began) * 1_000
        await self._until(
            lambda: _true(self._crowd.have(conv, 1) == MID - 2), count=lambda: self._crowd.have(conv, 1), total=MID - 2
        )
        self._say.event("alice.1", f"✓ after {ticked_ms:.0f} ms; a worker brings it to the inboxes")
        queued = await self._server.count('messages_accepted_total{strategy="queued"}')
        self._say.claim(
            f"{MID - 2} inboxes have it once, in order",
            expected=(MID - 2, 0, True),
            found=(self._crowd.have(conv, 1), len(self._crowd.faults), queued > before),
            evidence="the server counts it as queued; every chain of tags checked",
        )
        await self._reads(["bob"], conv, ["through the job log"])

    async def mega_group(self) -> None:
        self._say.chapter(f"A group of {MEGA:,}, notified and pulled")
        strangers = [UserId.named(f"stranger-{n}") for n in range(MEGA - 2 - len(self._crowd.users))]
        members = [self.bob.client.device.user, *self._crowd.users, *strangers]
        conv = await self._say.watch("the group is made", self.alice.client.create_group(members))
        await self._until(lambda: self._is_mega(self.alice, conv))
        await self._until(lambda: self._is_mega(self.bob, conv))
        before = self._crowd.have(conv, 1)
        sent = await self.alice.client.send(conv, "good morning, everybody")
        await self._status(self.alice, conv, sent, MessageStatus.SENT)
        self._say.event("alice.1", "✓ durable, and nothing was copied", "0 inboxes, 1 row")
        await self.bob.client.open_chat(conv)
        self._say.event("bob.1", "opens it, pulls, lacks the key, asks Alice's phone for it")
        found = await self._await_texts(self.bob, conv, ["good morning, everybody"])
        self._say.claim(
            "Bob reads what he pulled; no inbox was written",
            expected=(["good morning, everybody"], before),
            found=(found, self._crowd.have(conv, 1)),
            evidence=f"{MEGA:,} members, cost of the post: one row",
        )

    async def _is_mega(self, phone: Phone, conv: ConversationId) -> bool:
        chat = await phone.client.chat(conv)
        return chat.membership is not None and chat.membership.strategy is Strategy.MEGA

    async def removed(self) -> None:
        self._say.chapter("Carol is removed")
        await self.alice.client.change_members(self.group, removed=[self.carol.client.device.user])
        await self._until(lambda: self._is_out(self.carol, self.group))
        self._say.event("carol.1", "sees that she was removed")
        sent = await self.alice.client.send(self.group, "only for those who stay")
        wanted = ["welcome, all thirty", "only for those who stay"]
        await self._reads(["bob"], self.group, wanted)
        await self._status(self.alice, self.group, sent, MessageStatus.DELIVERED)
        self._say.claim(
            "Carol reads nothing new",
            expected=["welcome, all thirty"],
            found=await self._texts(self.carol, self.group),
            evidence="not sent to her, and under a new key",
        )

    async def _is_out(self, phone: Phone, conv: ConversationId) -> bool:
        return (await phone.client.chat(conv)).membership is None

    async def search_and_presence(self) -> None:
        self._say.chapter("Search, presence, last seen")
        hits = await self.bob.search("boarding ten")
        self._say.event("bob.1", f"searches for: boarding ten   {len(hits)} found", "on the device; the server cannot")
        expected = [self._sentence.replace("boarding", "[boarding]").replace("ten", "[ten]")]
        self._say.claim("found on the device", expected=expected, found=hits, evidence=hits[0] if hits else "nothing")
        user = self.bob.client.device.user
        self.alice.client.watch([user])
        await self._until(lambda: _true(self.alice.client.presence(user).state is PresenceState.ONLINE))
        online = self.alice.client.presence(user).state
        self._say.event("alice.1", f"Bob is {online.name.lower()}")
        await self.bob.client.stop()
        await self._until(lambda: _true(self.alice.client.presence(user).state is PresenceState.OFFLINE))
        presence = self.alice.client.presence(user)
        seen = time.strftime("%H:%M", time.localtime((presence.last_seen_ms or 0) / 1_000))
        self._say.event("alice.1", f"Bob is {presence.state.name.lower()}, last seen {seen}")
        self._say.claim(
            "presence follows, with last seen",
            expected=(PresenceState.ONLINE, PresenceState.OFFLINE, True),
            found=(online, presence.state, presence.last_seen_ms is not None),
            evidence=f"online, then offline after the grace, last seen {seen}",
        )

    async def what_the_server_holds(self) -> None:
        waiting = await self.alice.client.send(self.chat, self._sentence)  # Bob is away: it stays in his inbox
        await self._status(self.alice, self.chat, waiting, MessageStatus.SENT)
        await self._server.stop()
        row = _ciphertext(self._server.folder / "server.db", self.bob.client.device, waiting)
        count, files = self._server.holds(self._sentence.encode())
        mine, mine_in = _holds(self._folder / "phones", self._sentence.encode())
        remembered = self._sentence in await self._texts(self.bob, self.chat)
        self._say.panel(
            f'what is held for "{self._sentence}"',
            [
                f"sender     {self.alice.client.device}",
                f"size       {len(row)} bytes of the entry in the inbox of bob.1",
                f"begins     {row[:16].hex(' ')}",
                f"           {row[16:32].hex(' ')}",
                f"occurs     {count} times in {files} files of the server, {mine} times in {mine_in} of the phones",
            ],
        )
        self._say.claim(
            "the server holds ciphertext only",
            expected=(0, True),
            found=(count, len(row) > 0),
            evidence=f"{count} times in {files} files, and the message is there",
        )
        self._say.claim(
            "so do the phones: who finds one and not its key reads nothing",
            expected=(0, True, True),
            found=(mine, mine_in > 0, remembered),
            evidence=f"{mine} times in {mine_in} files, and Bob still reads it",
        )


Chapter: TypeAlias = Callable[[Story], Awaitable[None]]

CHAPTERS: Final[Sequence[Chapter]] = (
    Story.two_phones,
    Story.files,
    Story.flight,
    Story.kill,
    Story.second_device,
    Story.small_group,
    Story.mid_group,
    Story.mega_group,
    Story.removed,
    Story.search_and_presence,
    Story.what_the_server_holds,
)
# How many claims are in them: a story that ends early, however quietly, has not held them all.
CLAIMS: Final = 19


async def _reached(phone: Phone, conv: ConversationId, sent: MessageId, wanted: MessageStatus) -> bool:
    return await phone.client.status(conv, sent) >= wanted


async def _true(value: bool) -> bool:
    return value


def _text(record: Record) -> str | None:
    what = record.what if record.note is Note.MESSAGE else None
    return what.text if isinstance(what, Text) else None


def _show(progress: Progress, bar: TaskID, count: int) -> None:
    progress.update(bar, completed=count)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _brief(digest: str) -> str:
    return f"{digest[:4]}…{digest[-2:]}"


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _holds(folder: Path, words: bytes) -> tuple[int, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.read_bytes().count(words) for path in files), len(files)


def _ciphertext(path: Path, device: DeviceId, message_id: MessageId) -> bytes:
    """The entry of a message in a device's inbox, as the server has it; empty if it has none."""
    db = sqlite3.connect(path)
    try:
        found = db.execute(
            "SELECT value FROM row WHERE partition = (SELECT id FROM head WHERE partition = ?)"
            " AND key >= x'652f' AND key < x'6530' AND instr(value, ?)",
            (f"inbox/{device}", bytes(message_id)),
        ).fetchone()
    finally:
        db.close()
    return bytes(found[0]) if found is not None else b""
