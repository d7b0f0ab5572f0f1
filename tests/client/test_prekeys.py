"""Prekeys on the server: saved before they are published, refilled, renewed, and forgotten when their time is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from random import Random

import pytest

from whisperkit import keys
from whisperkit.client.prekeys import ASK_MS, ONE_TIME_KEYS, REFILL_BELOW, PreKeys
from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.errors import ActionRequiredError, CorruptStateError, LinkClosedError, PeerError, TransportError
from whisperkit.ids import ConversationId, DeviceId, MessageId
from whisperkit.partitions import Row
from whisperkit.ratchet import Device, PreKeyBundle, PublicPreKey
from whisperkit.ratchet.records import (
    decode_kyber_prekey,
    decode_local_identity,
    decode_one_time_prekey,
    decode_signed_prekey,
    signed_prekey_key,
)
from whisperkit.ratchet.replenish import PREKEY_KEEP_MS, PREKEY_RENEW_MS
from whisperkit.ratchet.results import Saved
from whisperkit.receipts import MessageStatus
from whisperkit.stores import MemoryPartitions
from whisperkit.sync import frames
from whisperkit.sync.frames import FailureReason, Frame
from whisperkit.testing import Fault
from whisperkit.testing.faulty import Crashed, FaultyPartitions, StoreCall
from whisperkit.testing.ratchet import Party, seeded_bytes
from whisperkit.testing.sim_phone import ChatNet
from whisperkit.testing.sim_runtime import SimWorld, run_now

BOB = DeviceId.named("bob", 1)
DAY_MS = 86_400_000
# Of a whole stock: so many that it has to be refilled.
TAKEN = ONE_TIME_KEYS - REFILL_BELOW + 1


class Server:
    """The rules of a server over a `dict`; it may lose a request or an answer."""

    def __init__(self) -> None:
        self.keys = keys.NEW_KEYS
        self.rows: dict[bytes, bytes] = {}
        self.came: list[frames.Publish] = []
        self.fate = ""
        self._strangers = 0

    async def ask(self, request: MessageId, frame: Frame) -> Frame:
        assert isinstance(frame, frames.Publish)
        assert frame.request == request
        fate, self.fate = self.fate, ""
        if fate == "request lost":
            raise LinkClosedError(reason="LOST", retry_after_s=None)
        if fate == "refused":
            return frames.Failed(request, FailureReason.INVALID, "no")
        self.came.append(frame)
        upload = keys.KeyUpload(
            1,
            keys.SignedKey(*frame.signed),
            keys.SignedKey(*frame.last_resort),
            tuple(keys.OneTimeKey(*one) for one in frame.one_time),
            tuple(keys.SignedKey(*one) for one in frame.kyber),
        )
        upload.check()
        step = keys.upload(self.keys, upload)
        self.keys = step.state
        self.rows.update(step.put)
        assert isinstance(step.answer, keys.Uploaded)
        if fate == "answer lost":
            raise LinkClosedError(reason="LOST", retry_after_s=None)
        if fate == "dies":
            raise Crashed("ask")
        return frames.Published(request, step.answer.one_time, step.answer.kyber)

    def take(self, wall_ms: int) -> keys.Bundle:
        """Hand a bundle out to somebody who never asked before."""
        self._strangers += 1
        requester = DeviceId.named(f"stranger {self._strangers}", 1)
        spans = keys.rows_to_take(self.keys, requester)
        rows = [Row(span.start, self.rows[span.start]) for span in spans if span.start in self.rows]
        request = MessageId(self._strangers.to_bytes(16, "big"))
        step = keys.take(self.keys, rows, requester=requester, request=request, wall_ms=wall_ms)
        self.keys = step.state
        for key in step.delete:
            del self.rows[key]
        assert isinstance(step.answer, keys.Bundle)
        return step.answer

    def one_time(self) -> Iterator[tuple[int, bytes]]:
        """What it would hand out, as number and key, of both kinds."""
        state = self.keys
        while state.one_time.left:
            rows = [Row(key, value) for key, value in self.rows.items()]
            needed = {span.start for span in keys.rows_to_take(state, BOB)}
            found = [row for row in rows if row.key in needed]
            step = keys.take(state, found, requester=BOB, request=MessageId(bytes(16)), wall_ms=0)
            assert isinstance(step.answer, keys.Bundle)
            assert step.answer.one_time is not None
            yield step.answer.one_time.number, step.answer.one_time.key
            yield step.answer.kyber.number, step.answer.kyber.key
            state = step.state


class Desk:
    """Bob's device, which may die at any commit; and the server.

    Attributes:
        wall_ms: Bob's clock.
        fate: Of the commit after `skip` others.
    """

    def __init__(self) -> None:
        self.server = Server()
        self.wall_ms = 1_800_000_000_000
        self.fate, self.skip = Fault.NONE, 0
        self.ratchet = Device(BOB, random_bytes=seeded_bytes(5))
        self._store = MemoryPartitions()
        self.start()
        run_now(self.records.run(self._begin))

    def start(self) -> None:
        """Switch on; what was saved is there."""
        self.records = DeviceRecords(FaultyPartitions(self._store, self._decide), BOB, SimWorld().runtime("bob"))
        mint = Random(self.wall_ms)
        self.prekeys = PreKeys(
            self.records,
            self.ratchet,
            self.server.ask,
            mint=lambda: MessageId(mint.randbytes(16)),
            wall_ms=lambda: self.wall_ms,
        )

    def _decide(self, call: StoreCall) -> Fault:
        if call.operation != "commit":
            return Fault.NONE
        self.skip -= 1
        return self.fate if self.skip == -1 else Fault.NONE

    async def _begin(self, turn: Turn) -> None:
        turn.save(self.ratchet.create_identity({}).save)

    def publish(self) -> bool:
        """Publish what is due; false if something came between."""
        try:
            run_now(self.prekeys.publish())
        except (Crashed, TransportError, ActionRequiredError):
            return False
        return True

    def rows(self, start: bytes) -> dict[int, bytes]:
        """Rows of the ratchet, by the number at the end of their keys."""
        head = run_now(self._store.heads([self.records.partition]))
        assert head
        everything = run_now(self.records.read(lambda turn: turn.load([*self.ratchet.records_for_published()])))
        return {int.from_bytes(key[-4:], "big"): value for key, value in everything.items() if key.startswith(start)}

    def use(self, stranger: Party, bundle: keys.Bundle) -> None:
        """Let somebody write a first message with a bundle, and Bob read it."""
        one_time = bundle.one_time
        public = PreKeyBundle(
            7,
            self.ratchet.identity_key(run_now(self.records.read(self._identity))),
            PublicPreKey(*bundle.signed),
            PublicPreKey(*bundle.kyber),
            None if one_time is None else PublicPreKey(one_time.number, one_time.key),
        )
        stranger.save(stranger.device.process_bundle(stranger.records, public, remote=BOB, wall_ms=self.wall_ms).save)
        sealed = stranger.device.encrypt(stranger.records, b"hello", remote=BOB, wall_ms=self.wall_ms)
        stranger.save(sealed.save)

        async def read(turn: Turn) -> bytes:
            rows = await turn.load(self.ratchet.records_for(stranger.id, sealed.message))
            opened = self.ratchet.decrypt(rows, sealed.message, sender=stranger.id, wall_ms=self.wall_ms)
            turn.save(opened.save)
            if opened.one_time_prekey is not None:
                await self.prekeys.used(turn)
            return opened.plaintext

        assert run_now(self.records.run(read)) == b"hello"

    async def _identity(self, turn: Turn) -> dict[bytes, bytes]:
        return await turn.load(self.ratchet.records_for_prekeys()[:1])

    def check(self) -> None:
        """Whatever the server can hand out, this device can answer; and no number was used twice."""
        assert self.server.keys.signed is not None
        assert self.server.keys.last_resort is not None
        signed, resort = self.server.keys.signed, self.server.keys.last_resort
        ec, kyber = self.rows(b"k/ec/"), self.rows(b"k/kyber/")
        assert decode_signed_prekey(self.rows(b"k/signed/")[signed.number]).pair.public == signed.key
        assert decode_kyber_prekey(kyber[resort.number]).pair.public == resort.key
        for number, key in self.server.one_time():
            held = (
                decode_one_time_prekey(ec[number]).pair if len(key) == 33 else decode_kyber_prekey(kyber[number]).pair
            )
            assert held.public == key
        numbers = [one.number for upload in self.server.came for one in upload.one_time]
        published = {one for upload in self.server.came for one in upload.one_time}
        assert len({one.number for one in published}) == len(published)
        identity = decode_local_identity(run_now(self.records.read(self._identity))[b"k/identity"])
        assert max([*numbers, signed.number, resort.number]) < identity.next_prekey


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- what is published ----------------------------------------------------------------------------------------------


def test_a_new_device_publishes_a_whole_stock(desk: Desk) -> None:
    assert desk.publish()

    assert desk.server.keys.one_time.left == desk.server.keys.kyber.left == ONE_TIME_KEYS
    desk.check()


def test_nothing_is_published_while_there_is_enough_and_the_server_was_asked_of_late(desk: Desk) -> None:
    desk.publish()
    desk.wall_ms += ASK_MS - 1
    desk.publish()

    assert len(desk.server.came) == 1


def test_what_was_taken_and_not_used_is_noticed_when_the_server_is_asked(desk: Desk) -> None:
    desk.publish()
    for _ in range(ONE_TIME_KEYS):
        desk.server.take(desk.wall_ms)
    desk.wall_ms += ASK_MS

    desk.publish()

    assert desk.server.keys.one_time.left == ONE_TIME_KEYS
    desk.check()


def test_a_stock_is_refilled_as_soon_as_few_are_left_that_were_not_used(desk: Desk) -> None:
    desk.publish()
    for n in range(ONE_TIME_KEYS - REFILL_BELOW):
        desk.use(Party(DeviceId.named(f"{n}", 1), random_bytes=seeded_bytes(n)), desk.server.take(desk.wall_ms))
    desk.publish()
    before = len(desk.server.came)

    desk.use(Party(DeviceId.named("one more", 1), random_bytes=seeded_bytes(99)), desk.server.take(desk.wall_ms))
    desk.publish()

    assert before == 1
    assert desk.server.keys.one_time.left == ONE_TIME_KEYS
    assert len(desk.rows(b"k/ec/")) == ONE_TIME_KEYS
    desk.check()


def test_what_was_taken_and_not_used_is_forgotten_after_its_time(desk: Desk) -> None:
    desk.publish()
    for _ in range(TAKEN):
        desk.server.take(desk.wall_ms)
    desk.wall_ms += ASK_MS
    desk.publish()
    desk.wall_ms += PREKEY_KEEP_MS
    desk.publish()
    before = len(desk.rows(b"k/ec/"))
    desk.wall_ms += ASK_MS
    desk.publish()

    assert before == ONE_TIME_KEYS + TAKEN
    assert len(desk.rows(b"k/ec/")) == ONE_TIME_KEYS
    desk.check()


def test_a_server_that_lost_all_is_supplied_again(desk: Desk) -> None:
    desk.publish()
    desk.server.keys, desk.server.rows = keys.NEW_KEYS, {}
    desk.wall_ms += ASK_MS

    desk.publish()

    assert desk.server.keys.one_time.left == ONE_TIME_KEYS
    desk.check()


def test_a_clock_that_is_put_back_does_not_stop_it(desk: Desk) -> None:
    desk.publish()
    desk.wall_ms -= 365 * DAY_MS
    desk.publish()
    renewed = desk.server.keys.signed
    for _ in range(60):
        desk.wall_ms += DAY_MS
        desk.publish()

    assert len(desk.server.came) == 62
    assert renewed != desk.server.keys.signed
    assert len(desk.rows(b"k/signed/")) <= PREKEY_KEEP_MS // PREKEY_RENEW_MS + 2
    desk.check()


def test_what_the_server_refuses_is_offered_again(desk: Desk) -> None:
    desk.server.fate = "refused"

    assert not desk.publish()
    assert desk.publish()
    desk.check()


def test_an_upload_that_is_none_is_found_corrupt(desk: Desk) -> None:
    async def damage(turn: Turn, data: bytes) -> None:
        turn.put([(b"n/upload", data)])

    for data in (b"", b"\xc1", b"\x91\x21"):
        run_now(desk.records.run(lambda turn, data=data: damage(turn, data)))  # type: ignore[misc]
        with pytest.raises(CorruptStateError):
            run_now(desk.prekeys.publish())


# ---- whatever comes between -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_refill", [False, True], ids=["at first", "a refill"])
@pytest.mark.parametrize("where", ["request lost", "answer lost", "dies", 0, 1])
@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.UNKNOWN_AFTER])
def test_a_crash_at_any_point_costs_no_key_and_leaves_none_behind(
    desk: Desk, is_refill: bool, where: str | int, fault: Fault
) -> None:
    if is_refill:
        desk.publish()
        for _ in range(TAKEN):
            desk.server.take(desk.wall_ms)
            run_now(desk.records.run(desk.prekeys.used))
        desk.wall_ms += PREKEY_RENEW_MS
    if isinstance(where, str):
        desk.server.fate = where
    else:
        desk.fate, desk.skip = fault, where

    went_well = desk.publish()
    desk.fate = Fault.NONE
    desk.start()
    desk.wall_ms += 60_000
    assert desk.publish()
    desk.check()

    assert went_well == (where in (0, 1) and fault is Fault.UNKNOWN_AFTER)
    assert desk.server.keys.one_time.left == ONE_TIME_KEYS
    assert len(desk.rows(b"k/ec/")) == ONE_TIME_KEYS + TAKEN * is_refill
    assert len({upload for upload in desk.server.came if upload.one_time}) == 1 + is_refill


def test_a_renewed_key_counts_as_out_only_when_the_server_has_it(desk: Desk) -> None:
    desk.publish()
    stranger = Party(DeviceId.named("alice", 1), random_bytes=seeded_bytes(8))
    desk.wall_ms += PREKEY_RENEW_MS
    desk.server.fate = "request lost"
    desk.publish()  # made, and not published for longer than replaced keys are kept
    desk.wall_ms += PREKEY_KEEP_MS + DAY_MS
    late = desk.server.take(desk.wall_ms)
    desk.publish()
    desk.wall_ms += ASK_MS
    desk.publish()

    desk.wall_ms += 30 * DAY_MS
    desk.publish()

    desk.use(stranger, late)


# ---- over weeks -----------------------------------------------------------------------------------------------------


def test_over_weeks_keys_are_renewed_on_time_kept_for_their_time_and_then_dropped(desk: Desk) -> None:
    random, began = Random(1), desk.wall_ms
    replaced: dict[int, int] = {}
    numbers: list[int] = []
    fates = ("", "", "", "", "request lost", "answer lost", "dies")
    desk.publish()
    for step in range(7 * 15 * DAY_MS // ASK_MS):
        desk.wall_ms = began + step * ASK_MS
        if random.random() < 0.9:
            bundle = desk.server.take(desk.wall_ms)
            if step % 40 == 0:
                desk.use(Party(DeviceId.named(f"{step}", 1), random_bytes=seeded_bytes(step)), bundle)
        desk.server.fate = random.choice(fates)
        if not desk.publish():
            desk.start()
        desk.server.fate = ""
        assert desk.server.keys.signed is not None
        present = desk.server.keys.signed.number
        if numbers[-1:] != [present]:
            replaced.update(dict.fromkeys(numbers[-1:], desk.wall_ms))
            numbers.append(present)
        kept = desk.rows(b"k/signed/")
        assert desk.wall_ms - decode_signed_prekey(kept[present]).made_at_ms <= PREKEY_RENEW_MS + 6 * ASK_MS
        for number, at_ms in replaced.items():
            assert number in kept or desk.wall_ms - at_ms > PREKEY_KEEP_MS
            assert number not in kept or desk.wall_ms - at_ms <= PREKEY_KEEP_MS + 6 * ASK_MS
        if step % 20 == 0:
            desk.check()

    assert numbers == sorted(set(numbers))
    assert 13 <= len(numbers) <= 16
    resorts = [one for one in map(decode_kyber_prekey, desk.rows(b"k/kyber/").values()) if one.is_last_resort]
    assert len(resorts) == len(desk.rows(b"k/signed/"))
    # Keys that were taken and never used: the device holds those of the last weeks, and not of all.
    assert desk.server.keys.one_time.taken > 350
    assert len(desk.rows(b"k/ec/")) < 280


def test_a_phone_that_is_on_for_a_minute_every_other_day_can_be_written_to_for_the_first_time_all_along(
    net: ChatNet,
) -> None:
    bob = net.phone("bob")
    numbers: list[int] = []
    chats: list[ConversationId] = []

    def sleep(days: float) -> None:
        """Nobody is on, not even the server."""
        bob.crash()
        net.server.crash()
        net.world.at(days * 86_400, lambda: None, label="morning")  # a clock with nothing before it stands still
        net.wait(days * 86_400)
        net.server.start()

    for day in range(0, 70, 2):
        bob.restart()
        net.until(lambda: bob.is_live)
        net.wait(60.0)
        head = run_now(net.server.partitions.heads([keys.partition(bob.device)]))[keys.partition(bob.device)]
        signed = keys.decode(head.state).signed
        assert signed is not None
        numbers.append(signed.number)
        held = decode_signed_prekey(bob.rows()[signed_prekey_key(signed.number)])
        assert bob.runtime.wall_ms() - held.made_at_ms < PREKEY_RENEW_MS
        sleep(2)
        if day % 20 == 0:  # somebody writes who never did before, and Bob reads it four weeks later
            friend = net.phone(f"friend {day}")
            chats.append(friend.direct(bob))
            sent = friend.send(chats[-1], "hello")
            net.wait(10.0)
            assert friend.status(chats[-1], sent) is MessageStatus.SENT
            friend.crash()
            sleep(28)
    bob.restart()
    net.until(lambda: bob.is_live)
    net.wait(60.0)

    assert [bob.texts(chat) for chat in chats] == [["hello"]] * 4
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 11  # on every other day that makes one in eight days, and one for each long absence
    assert sum(key.startswith(b"k/signed/") for key in bob.rows()) <= 2 + PREKEY_KEEP_MS // PREKEY_RENEW_MS
    assert sum(key.startswith(b"k/ec/") for key in bob.rows()) == ONE_TIME_KEYS


# ---- with one thing wrong -------------------------------------------------------------------------------------------

next_upload = PreKeys._next  # pyright: ignore[reportPrivateUsage]


async def unsaved(prekeys: PreKeys, turn: Turn) -> frames.Publish | None:
    """Publish what is not written down."""
    made = await next_upload(prekeys, turn)
    turn.delete([key for key in turn.rows if key.startswith((b"k/ec/", b"n/upload"))])
    return made


async def made_anew(prekeys: PreKeys, turn: Turn) -> frames.Publish | None:
    """Forget what was not answered."""
    turn.delete([b"n/upload"])
    return await next_upload(prekeys, turn)


async def nothing(*_: object) -> None:
    return None


def nothing_to_note(*_: object, **__: object) -> Saved:
    return Saved({})


a_lost_answer = partial(
    test_a_crash_at_any_point_costs_no_key_and_leaves_none_behind,
    is_refill=True,
    where="answer lost",
    fault=Fault.NONE,
)


@pytest.mark.parametrize(
    ("scenario", "owner", "name", "wrong"),
    [
        (a_lost_answer, PreKeys, "_next", unsaved),
        (a_lost_answer, PreKeys, "_next", made_anew),
        (test_a_renewed_key_counts_as_out_only_when_the_server_has_it, Device, "prekeys_published", nothing_to_note),
        (test_a_stock_is_refilled_as_soon_as_few_are_left_that_were_not_used, PreKeys, "used", nothing),
        (test_what_was_taken_and_not_used_is_forgotten_after_its_time, Device, "prekeys_published", nothing_to_note),
    ],
    ids=["unsaved", "made anew", "out at once", "uses not counted", "never forgotten"],
)
def test_a_fault_with_prekeys_is_noticed(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[Desk], None],
    owner: object,
    name: str,
    wrong: object,
) -> None:
    monkeypatch.setattr(owner, name, wrong)

    with pytest.raises((AssertionError, KeyError, PeerError)):
        scenario(desk)
