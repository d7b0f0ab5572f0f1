"""Whose devices are known, and what of it a person is told: once, in order, before it matters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import pytest

from whisperkit.client.events import DeviceLinked, IdentityChanged, Notice, Recorded
from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.client.trust import DIRECT, Trust
from whisperkit.errors import CorruptStateError
from whisperkit.ids import ConversationId, DeviceId, UserId
from whisperkit.ratchet import Device
from whisperkit.ratchet.curve import generate
from whisperkit.stores import MemoryPartitions
from whisperkit.sync import frames
from whisperkit.sync.frames import DeviceList, ListedDevice
from whisperkit.testing.ratchet import seeded_bytes
from whisperkit.testing.sim_phone import ChatNet, SimPhone
from whisperkit.testing.sim_runtime import SimWorld, run_now

T = TypeVar("T")


def told(phone: SimPhone) -> list[tuple[type[Notice], DeviceId]]:
    """What a phone was told of devices, in order."""
    return [(type(one), one.device) for one in phone.events if isinstance(one, DeviceLinked | IdentityChanged)]


def key_of(phone: SimPhone) -> bytes:
    return phone.do(lambda client: client.identity())[0]


def talk(net: ChatNet, one: SimPhone, other: SimPhone) -> ConversationId:
    """Let both write once, so that each knows the other's list of devices."""
    chat = one.direct(other)
    one.send(chat, "hello")
    net.until(lambda: other.texts(chat) == ["hello"])
    other.send(chat, "hi")
    net.until(lambda: one.texts(chat) == ["hello", "hi"])
    net.wait(1.0)
    return chat


def compare(one: SimPhone, other: SimPhone) -> None:
    """Let the person of one phone compare the safety number of another."""
    number = one.do(lambda client: client.safety_number(other.device))
    one.do(lambda client: client.mark_verified(number))


# ---- devices that are new -------------------------------------------------------------------------------------------


def test_a_new_device_of_a_contact_is_told_once_and_before_anything_is_written_to_it(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = talk(net, alice, bob)
    tablet = net.linked(bob, name="bob")
    before = len(alice.events)

    alice.send(chat, "to both of you")
    net.until(lambda: tablet.texts(chat)[-1:] == ["to both of you"])
    tablet.send(chat, "and from both of us")
    net.until(lambda: alice.texts(chat)[-1:] == ["and from both of us"])
    net.wait(90.0)

    written, notice, *_ = [one for one in alice.events[before:] if isinstance(one, Recorded | DeviceLinked)]
    assert isinstance(written, Recorded)
    assert not written.record.seq
    assert notice == DeviceLinked(tablet.device, False, key_of(tablet))
    assert told(alice) == [(DeviceLinked, tablet.device)]


def test_a_new_device_that_writes_first_is_told_before_what_it_says(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = talk(net, alice, bob)
    tablet = net.linked(bob, name="bob")

    tablet.send(chat, "guess who")
    net.until(lambda: alice.texts(chat)[-1:] == ["guess who"])
    net.wait(90.0)

    about = [one for one in alice.events if isinstance(one, DeviceLinked | Recorded)]
    assert about[-2] == DeviceLinked(tablet.device, False, key_of(tablet))
    assert told(alice) == [(DeviceLinked, tablet.device)]


def test_the_devices_that_somebody_has_when_they_are_met_are_no_news(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    tablet = net.linked(bob, name="bob")

    chat = talk(net, alice, bob)
    tablet.send(chat, "me too")
    net.until(lambda: alice.texts(chat)[-1:] == ["me too"])
    net.wait(90.0)

    assert told(alice) == told(bob) == told(tablet) == []


def test_the_devices_of_somebody_who_writes_first_are_looked_up_and_no_news(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    tablet = net.linked(bob, name="bob")
    chat = bob.direct(alice)

    bob.send(chat, "from the phone")
    net.until(lambda: alice.texts(chat) == ["from the phone"])
    net.wait(2.0)
    tablet.send(chat, "from the tablet")
    net.until(lambda: alice.texts(chat) == ["from the phone", "from the tablet"])
    net.wait(90.0)

    asked = [frame.users for frame in alice.said if isinstance(frame, frames.Devices)]
    assert sum(bob.device.user in users for users in asked) == 1
    assert told(alice) == []


def test_a_new_device_of_a_stranger_is_no_news(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    alice.do(lambda client: client.devices_of([bob.device.user]))
    tablet = net.linked(bob, name="bob")
    net.wait(700.0)

    found = alice.do(lambda client: client.devices_of([bob.device.user]))

    assert tablet.device in found
    assert told(alice) == []


def test_a_new_device_of_a_member_of_a_group_is_told(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    alice.send(group, "hello")
    net.until(lambda: bob.texts(group) == ["hello"])
    tablet = net.linked(bob, name="bob")

    alice.send(group, "welcome")
    net.until(lambda: tablet.texts(group)[-1:] == ["welcome"])

    assert told(alice) == [(DeviceLinked, tablet.device)]


def test_whoever_links_a_device_is_not_told_of_it_but_their_other_devices_are(net: ChatNet) -> None:
    phone = net.phone("alice")
    tablet = net.linked(phone, 2, name="alice")
    laptop = net.linked(phone, 3, name="alice")

    tablet.restart()
    net.until(lambda: bool(told(tablet)))
    phone.restart()
    laptop.restart()
    net.wait(700.0)

    assert told(tablet) == [(DeviceLinked, laptop.device)]
    assert told(phone) == told(laptop) == []


def test_a_device_that_the_server_let_into_the_own_account_is_told_while_the_connection_stands(net: ChatNet) -> None:
    alice = net.phone("alice")
    net.wait(60.0)
    intruder = DeviceId(alice.device.user, 9)
    key = generate(random_bytes=seeded_bytes(7)).public

    net.server.runtime.spawn(
        partial(net.server.service.register, intruder, identity_keys={intruder: key}), name="intruder"
    )
    net.wait(700.0)

    assert told(alice) == [(DeviceLinked, intruder)]


def test_a_number_that_is_linked_again_with_another_key_is_another_device(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = talk(net, alice, bob)
    tablet = net.linked(bob, name="bob")
    alice.send(chat, "both")
    net.until(lambda: tablet.texts(chat)[-1:] == ["both"])
    bob.do(lambda client: client.unlink_device(2))
    tablet.crash()
    net.wait(12.0)
    alice.send(chat, "one")
    net.until(lambda: bob.texts(chat)[-1:] == ["one"])

    other = net.linked(bob, name="bob")
    alice.send(chat, "both again")
    net.until(lambda: other.texts(chat)[-1:] == ["both again"])

    assert told(alice) == [(DeviceLinked, other.device)] * 2
    assert alice.client.notices == (DeviceLinked(other.device, False, key_of(other)),)


# ---- keys that change -----------------------------------------------------------------------------------------------


def replace(net: ChatNet, phone: SimPhone) -> SimPhone:
    """Set a phone up anew under its old number, as somebody does who lost everything; the server is told."""
    phone.crash()
    if phone.link is not None:
        phone.link.cut()
    new = net.add(phone.device)
    net.wait(5.0)
    net.server.replace(phone.device, *new.do(lambda client: client.identity()))
    new.restart()
    net.until(lambda: new.is_live)
    net.wait(15.0)
    return new


@pytest.mark.parametrize("finds_by", ["list", "message"])
def test_a_key_that_changed_is_told_once_however_it_is_found(net: ChatNet, finds_by: str) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = talk(net, alice, bob)
    new = replace(net, bob)

    if finds_by == "list":
        net.wait(700.0)
        alice.send(chat, "who are you?")
        net.until(lambda: new.texts(chat)[-1:] == ["who are you?"])
    else:
        new.send(new.direct(alice), "it is me")
        net.until(lambda: alice.texts(chat)[-1:] == ["it is me"])
    new.send(chat, "bob")
    net.until(lambda: alice.texts(chat)[-1:] == ["bob"])
    net.wait(700.0)
    alice.send(chat, "ah")
    net.until(lambda: new.texts(chat)[-1:] == ["ah"])

    assert told(alice) == [(IdentityChanged, bob.device)]
    number = alice.do(lambda client: client.safety_number(bob.device))
    assert number.matches(new.do(lambda client: client.safety_number(alice.device)).scannable)


def test_a_list_with_another_key_is_told_before_anything_is_sent_and_shows_the_new_number(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    talk(net, alice, bob)
    new = replace(net, bob)
    net.wait(700.0)

    alice.do(lambda client: client.devices_of([bob.device.user]))

    assert told(alice) == [(IdentityChanged, bob.device)]
    assert alice.do(lambda client: client.safety_number(bob.device)).identity_key == key_of(new)


def test_what_a_person_compared_is_lost_with_the_key_and_what_they_have_to_decide_outlives_a_restart(
    net: ChatNet,
) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = talk(net, alice, bob)
    compare(alice, bob)
    before = alice.do(lambda client: client.are_verified(bob.device.user))
    new = replace(net, bob)
    net.wait(700.0)

    alice.send(chat, "only for the old bob")
    net.wait(60.0)
    is_verified = alice.do(lambda client: client.is_verified(bob.device))
    alice.restart()
    net.until(lambda: alice.is_live)
    (undecided,) = alice.do(lambda client: client.undecided(bob.device.user))
    shown = new.texts(chat)
    alice.do(lambda client: client.accept_identity(undecided.device, undecided.identity_key))
    net.until(lambda: new.texts(chat)[-1:] == ["only for the old bob"])

    assert before
    assert not is_verified
    assert undecided == IdentityChanged(bob.device, True, key_of(new))
    assert "only for the old bob" not in shown
    assert alice.do(lambda client: client.undecided(bob.device.user)) == []
    assert not alice.do(lambda client: client.are_verified(bob.device.user))


def test_whoever_was_verified_is_not_any_more_when_a_new_device_comes(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = talk(net, alice, bob)
    compare(alice, bob)
    tablet = net.linked(bob, name="bob")

    alice.send(chat, "both")
    net.until(lambda: tablet.texts(chat)[-1:] == ["both"])
    after = alice.do(lambda client: client.are_verified(bob.device.user))
    compare(alice, tablet)

    assert DeviceLinked(tablet.device, True, key_of(tablet)) in alice.events
    assert not after
    assert alice.do(lambda client: client.are_verified(bob.device.user))


def test_a_bundle_whose_keys_are_not_signed_with_its_identity_is_no_news(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = talk(net, alice, bob)
    genuine = next(frame for frame in alice.heard if isinstance(frame, frames.Bundle))
    assert genuine.keys is not None
    stranger = genuine.keys._replace(identity_key=generate(random_bytes=seeded_bytes(7)).public)
    alice.edit(lambda rows: {key: None for key in rows if key.startswith(b"k/session/")})
    net.until(lambda: alice.is_live)
    forged: list[frames.Bundle] = []

    def is_saying(frame: frames.Frame) -> None:
        if isinstance(frame, frames.Take) and not forged:
            assert alice.link is not None
            forged.append(frames.Bundle(frame.request, frame.device, stranger))
            alice.wire_fates.arm("up", "lost")
            alice.link.forge(forged[0])

    alice.is_saying = is_saying
    alice.send(chat, "to whom?")
    net.until(lambda: bool(forged))
    net.wait(90.0)

    assert told(alice) == []
    assert bob.texts(chat)[-1:] == ["to whom?"]


# ---- lists, one by one ----------------------------------------------------------------------------------------------

ALICE, BOB = DeviceId.named("alice", 1), UserId.named("bob")


class Desk:
    """Alice's trust over a store of its own; Bob is a contact of hers."""

    def __init__(self) -> None:
        self.runtime = SimWorld().runtime("alice")
        self.records = DeviceRecords(MemoryPartitions(), ALICE, self.runtime)
        self.ratchet = Device(ALICE, random_bytes=seeded_bytes(3))
        self.trust = Trust(self.ratchet, wall_ms=lambda: 0)
        self.run(self._begin)

    async def _begin(self, turn: Turn) -> None:
        turn.save(self.ratchet.create_identity({}).save)
        turn.put([(DIRECT + ConversationId.direct(ALICE.user, BOB).encode(), BOB.encode())])

    def run(self, work: Callable[[Turn], Awaitable[T]]) -> T:
        return run_now(self.records.run(work))

    def listed(self, version: int, **keys: bytes) -> list[Notice]:
        devices = tuple(ListedDevice(int(name[1:]), key, 7) for name, key in keys.items())
        return self.run(partial(self.trust.listed, lists=[DeviceList(BOB, version, devices)]))

    def met(self, number: int, key: bytes) -> list[Notice]:
        return self.run(partial(self.trust.met, device=DeviceId(BOB, number), key=key))


@pytest.fixture
def desk() -> Desk:
    return Desk()


ONE, TWO, OTHER = (generate(random_bytes=seeded_bytes(seed)).public for seed in (11, 12, 13))


def linked(number: int, key: bytes) -> DeviceLinked:
    return DeviceLinked(DeviceId(BOB, number), False, key)


def changed(number: int, key: bytes) -> IdentityChanged:
    return IdentityChanged(DeviceId(BOB, number), False, key)


def test_a_list_that_comes_again_says_nothing_new(desk: Desk) -> None:
    assert desk.listed(1, n1=ONE) == []
    assert desk.listed(2, n1=ONE, n2=TWO) == [linked(2, TWO)]
    assert desk.listed(2, n1=ONE, n2=TWO) == []


def test_an_older_list_takes_no_device_away_and_undoes_no_key(desk: Desk) -> None:
    desk.listed(1, n1=ONE)
    desk.listed(2, n1=OTHER, n2=TWO)

    assert desk.listed(1, n1=ONE) == []
    assert desk.listed(2, n1=OTHER, n2=TWO) == []


def test_an_older_list_with_a_device_that_is_not_known_is_news_all_the_same(desk: Desk) -> None:
    desk.listed(2**40, n1=ONE)  # a server that wants to hide what comes after

    assert desk.listed(2, n1=ONE, n2=TWO) == [linked(2, TWO)]


def test_a_device_that_went_and_came_back_is_told_again(desk: Desk) -> None:
    desk.listed(2, n1=ONE, n2=TWO)

    assert desk.listed(3, n1=ONE) == []
    assert desk.listed(4, n1=ONE, n2=TWO) == [linked(2, TWO)]


def test_a_first_list_does_not_undo_what_a_device_has_proved(desk: Desk) -> None:
    assert desk.met(1, ONE) == []
    assert desk.listed(1, n1=OTHER) == []
    assert desk.met(1, ONE) == []


def test_a_device_that_proves_another_key_than_was_listed_is_told(desk: Desk) -> None:
    desk.listed(1, n1=ONE)

    assert desk.met(1, OTHER) == [changed(1, OTHER)]
    assert desk.met(1, OTHER) == []


def test_a_device_that_no_list_names_is_told_and_looked_for(desk: Desk) -> None:
    desk.listed(1, n1=ONE)

    assert desk.met(2, TWO) == [linked(2, TWO)]
    assert desk.trust.unlisted == {BOB}
    assert desk.met(2, TWO) == []


def test_a_key_that_is_none_is_passed_over(desk: Desk) -> None:
    desk.listed(1, n1=ONE)
    desk.run(partial(accept, desk.ratchet, ONE))

    assert desk.listed(2, n1=bytes(33), n2=TWO) == [linked(2, TWO)]
    assert desk.listed(3, n1=OTHER, n2=TWO) == [changed(1, OTHER)]


async def accept(ratchet: Device, key: bytes, turn: Turn) -> None:
    remote = DeviceId(BOB, 1)
    rows = await turn.load(ratchet.records_for(remote))
    turn.save(ratchet.accept_identity(rows, key, remote=remote, wall_ms=0).save)


def test_a_row_that_is_none_is_found_corrupt(desk: Desk) -> None:
    async def damage(turn: Turn) -> None:
        turn.put([(b"d/" + BOB.encode(), b"\x93\x01\x02\x91\xc0")])

    desk.run(damage)

    with pytest.raises(CorruptStateError):
        desk.listed(1, n1=ONE)
