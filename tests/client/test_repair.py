"""What cannot be read is never dropped: it is shown as such, asked for, and replaced in place."""

from __future__ import annotations

import pytest

from whisperkit import ConversationId, MessageId
from whisperkit.client.events import IdentityChanged, Recorded
from whisperkit.client.history import Note
from whisperkit.ratchet.curve import generate
from whisperkit.ratchet.messages import PreKeySignalMessage
from whisperkit.receipts import MessageStatus
from whisperkit.stores import MemoryPartitions
from whisperkit.sync import frames
from whisperkit.sync.frames import EntryKind, Frame
from whisperkit.testing.sim_phone import ChatNet, SimPhone


def forget(phone: SimPhone, *prefixes: bytes) -> None:
    """Lose records, as a damaged file does; the phone is off meanwhile."""
    phone.edit(lambda rows: {key: None for key in rows if key.startswith(prefixes)})


def met(net: ChatNet) -> tuple[SimPhone, SimPhone, ConversationId]:
    """Two phones with sessions in both directions."""
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "hello")
    net.until(lambda: bob.texts(chat) == ["hello"])
    bob.send(chat, "hi")
    net.until(lambda: alice.texts(chat) == ["hello", "hi"])
    return alice, bob, chat


def test_a_receiver_who_lost_its_sessions_gets_what_it_missed(net: ChatNet) -> None:
    alice, bob, chat = met(net)
    forget(bob, b"k/session/")

    alice.send(chat, "lost on you")
    net.until(lambda: bob.texts(chat)[-1:] == ["lost on you"])
    net.wait(1.0)  # what is saved is told a moment later

    shown = [event.record.note for event in bob.events if isinstance(event, Recorded)]
    assert Note.UNREADABLE in shown
    assert [event.is_new for event in bob.events if isinstance(event, Recorded)][-1] is False
    alice.send(chat, "and from now on")
    net.until(lambda: bob.texts(chat) == ["hello", "hi", "lost on you", "and from now on"])


def test_a_member_who_lost_a_sender_key_gets_message_and_key(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    alice.send(group, "one")
    net.until(lambda: bob.texts(group) == carol.texts(group) == ["one"])
    forget(bob, b"k/key/")

    alice.send(group, "two")
    net.until(lambda: bob.texts(group) == ["one", "two"])
    asked = sum(isinstance(frame, frames.Aside) for frame in bob.said)
    alice.send(group, "three")
    net.until(lambda: bob.texts(group) == ["one", "two", "three"])

    assert carol.texts(group) == ["one", "two", "three"]
    assert sum(isinstance(frame, frames.Aside) for frame in bob.said) == asked  # the key came along


@pytest.mark.parametrize("first", ["alice", "bob"])
def test_a_phone_that_was_restored_from_a_backup_is_understood_and_understands(net: ChatNet, first: str) -> None:
    alice, bob, chat = met(net)
    backup = alice.back_up()
    for n in range(3):
        alice.send(chat, f"a{n}")
        bob.send(chat, f"b{n}")
    net.until(lambda: len(bob.texts(chat)) == len(alice.texts(chat)) == 8)

    alice.restore(backup)
    net.until(lambda: alice.is_live)
    writer, reader = (alice, bob) if first == "alice" else (bob, alice)
    for n in range(3):
        writer.send(chat, f"new {n}")
        net.wait(0.2)
    reader.send(chat, "answer")
    fresh = ["new 0", "new 1", "new 2"]
    net.until(lambda: set(fresh) <= set(reader.texts(chat)) and "answer" in writer.texts(chat))
    net.wait(60.0)

    assert [text for text in reader.texts(chat) if text in fresh] == fresh
    assert "?" not in bob.texts(chat)


def test_a_member_that_was_restored_from_a_backup_writes_under_new_keys(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    alice.send(group, "0")
    net.until(lambda: carol.texts(group) == ["0"])
    backup = alice.back_up()
    alice.send(group, "1")
    alice.send(group, "2")
    net.until(lambda: carol.texts(group) == ["0", "1", "2"])

    alice.restore(backup)
    net.until(lambda: alice.is_live)
    for n in (3, 4):
        alice.send(group, f"{n}")
    everything = ["0", "1", "2", "3", "4"]
    net.until(lambda: bob.texts(group) == carol.texts(group) == everything)


def test_a_phone_that_was_set_up_anew_is_announced_and_then_spoken_to(net: ChatNet) -> None:
    alice, bob, chat = met(net)
    replace(net, bob)

    alice.send(chat, "who are you now?")
    net.until(lambda: bob.texts(chat)[-1:] == ["who are you now?"])

    assert changes(alice)[:1] == [(bob.device, False)]


def test_a_verified_phone_that_was_set_up_anew_reads_nothing_until_a_person_accepts_it(net: ChatNet) -> None:
    alice, bob, chat = met(net)
    number = alice.do(lambda client: client.safety_number(bob.device))
    assert number.matches(bob.do(lambda client: client.safety_number(alice.device)).scannable)
    alice.do(lambda client: client.mark_verified(number))
    replace(net, bob)

    alice.send(chat, "only for the old bob")
    net.wait(60.0)
    shown = set(bob.texts(chat))
    (event, *_) = [event for event in alice.events if isinstance(event, IdentityChanged)]
    alice.do(lambda client: client.accept_identity(event.device, event.identity_key))
    net.until(lambda: bob.texts(chat)[-1:] == ["only for the old bob"])

    assert event == IdentityChanged(bob.device, True, bob.do(lambda client: client.identity())[0])
    assert shown <= {"?"}


def changes(phone: SimPhone) -> list[tuple[str, bool]]:
    """Whose identities changed, as the phone was told, and whether a person had compared them."""
    return [(event.device, event.was_verified) for event in phone.events if isinstance(event, IdentityChanged)]


def replace(net: ChatNet, phone: SimPhone) -> None:
    """Set a phone up anew under its old number, as somebody does who lost everything; the server is told."""
    phone.crash()
    if phone.link is not None:
        phone.link.cut()
    net.wait(1.0)
    phone.store = MemoryPartitions()
    phone.start()
    net.wait(1.0)
    key, registration_id = phone.do(lambda client: client.identity())
    net.server.replace(phone.device, key, registration_id)
    phone.client.reconnect()
    net.until(lambda: phone.is_live)
    net.wait(15.0)


def test_a_placeholder_is_asked_for_and_filled(net: ChatNet) -> None:
    alice, bob, chat = met(net)
    sent = alice.send(chat, "named other devices")
    net.until(lambda: alice.status(chat, sent) is MessageStatus.DELIVERED)
    record = next(record for record in alice.records(chat) if record.message_id == sent)
    tablet = net.linked(bob, name="bob")
    assert tablet.link is not None

    tablet.hand_over(EntryKind.PLACEHOLDER, record.message_id, chat, record.seq, alice.device, own=None, shared=None)
    net.until(lambda: tablet.texts(chat) == ["named other devices"])


def test_a_message_is_read_only_where_it_was_written_for(net: ChatNet) -> None:
    alice, bob, chat = met(net)
    group = alice.group(bob, net.phone("carol"))
    net.until(lambda: bool(bob.records(group)))
    copies: list[bytes] = []

    def intercept(frame: Frame) -> None:
        if isinstance(frame, frames.Send) and frame.own:
            copies.append(frame.own[bob.device])
            alice.wire_fates.arm("up", "lost")

    alice.is_saying = intercept
    alice.send(chat, "for two pairs of eyes")
    net.until(lambda: bool(copies))
    shown_elsewhere = MessageId.mint(wall_ms=1, random_bytes=net.server.runtime.random)

    bob.hand_over(EntryKind.MESSAGE, shown_elsewhere, group, 3, alice.device, own=copies[0], shared=None)
    net.wait(1.0)

    assert bob.texts(group) == ["?"]


def test_garbage_of_every_kind_becomes_an_unreadable_record_and_harms_nothing(net: ChatNet) -> None:
    alice, bob, chat = met(net)
    bad: list[tuple[bytes | None, bytes | None]] = [
        (None, None),
        (b"", None),
        (b"\x02", None),
        (b"\x02" + bytes(100), None),
        (b"\x03" + bytes(200), None),
        (b"\xff" * 40, b"\xff" * 40),
        (None, b""),
        (None, b"\x07" + bytes(90)),
        (b"\x07" + bytes(90), None),
    ]
    for n, (own, shared) in enumerate(bad):
        net.until(lambda: bob.is_live)  # the server closes a link that acknowledges what it never sent
        one = MessageId.mint(wall_ms=n, random_bytes=net.server.runtime.random)
        bob.hand_over(EntryKind.MESSAGE, one, chat, 50 + n, alice.device, own=own, shared=shared)
        net.wait(5.0)
        net.until(lambda: bob.is_live)
        aside = MessageId.mint(wall_ms=n, random_bytes=net.server.runtime.random)
        bob.hand_over(EntryKind.ASIDE, aside, frames.ASIDES, 0, alice.device, own=own, shared=None)
        net.wait(5.0)
    bob.restart()  # it goes on with what the server really has
    net.until(lambda: bob.is_live)
    bob.send(chat, "still here")
    net.until(lambda: "still here" in alice.texts(chat))
    alice.send(chat, "me too")
    net.until(lambda: "me too" in bob.texts(chat))

    assert bob.texts(chat).count("?") == len(bad)


def test_only_the_audience_is_given_a_message_again(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    mallory = net.phone("mallory")
    group = alice.group(bob, carol)
    sent = alice.send(group, "members only")
    net.until(lambda: bob.texts(group) == ["members only"])
    record = next(record for record in alice.records(group) if record.message_id == sent)

    # The server shows Mallory that there is something, and lets her ask for it.
    mallory.hand_over(EntryKind.MESSAGE, sent, group, record.seq, alice.device, own=None, shared=b"\x07")
    net.wait(60.0)
    alice.do(lambda client: client.change_members(group, added=[mallory.device.user]))
    net.until(lambda: mallory.device.user in alice.members(group))
    mallory.hand_over(EntryKind.MESSAGE, sent, group, record.seq, alice.device, own=None, shared=b"\x07")
    net.wait(60.0)

    assert "members only" not in mallory.texts(group)


@pytest.mark.parametrize("is_verified", [False, True])
def test_a_changed_identity_is_announced_by_its_bundle_too(net: ChatNet, is_verified: bool) -> None:
    alice, bob, chat = met(net)
    if is_verified:
        number = alice.do(lambda client: client.safety_number(bob.device))
        alice.do(lambda client: client.mark_verified(number))
    replace(net, bob)
    forget(alice, b"k/session/")  # so that the next message begins with a bundle

    alice.send(chat, "with a new session")
    net.until(lambda: changes(alice)[:1] == [(bob.device, is_verified)])
    net.wait(10.0)
    was_shown = "with a new session" in bob.texts(chat)
    if is_verified:
        key = bob.do(lambda client: client.identity())[0]
        alice.do(lambda client: client.accept_identity(bob.device, key))
    net.until(lambda: bob.texts(chat)[-1:] == ["with a new session"])

    assert was_shown is not is_verified


def test_a_first_message_that_does_not_open_changes_no_identity(net: ChatNet) -> None:
    alice, bob, chat = met(net)
    forget(bob, b"k/session/")  # so that Alice's next message to him is a first one
    net.until(lambda: bob.is_live)
    said: list[bytes] = []

    def is_saying(frame: Frame) -> None:
        if isinstance(frame, frames.Aside):
            said.extend(frame.own.values())

    bob.is_saying = is_saying
    alice.send(chat, "starts a repair")
    net.until(lambda: bool(said))
    net.until(lambda: bob.texts(chat)[-1:] == ["starts a repair"])
    first = PreKeySignalMessage.decode(said[0][1:])
    stranger = generate(random_bytes=net.server.runtime.random).public
    forged = first._replace(identity_key=stranger).encode()
    before = alice.do(lambda client: client.safety_number(bob.device))

    one = MessageId.mint(wall_ms=1, random_bytes=net.server.runtime.random)
    alice.hand_over(EntryKind.MESSAGE, one, chat, 50, bob.device, own=bytes([said[0][0]]) + forged, shared=None)

    assert alice.texts(chat)[-1:] == ["?"]
    assert alice.do(lambda client: client.safety_number(bob.device)) == before
    assert not [event for event in alice.events if isinstance(event, IdentityChanged)]
