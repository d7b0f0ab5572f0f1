"""What a plain chat shows when something happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.examples.chat.person import Person
from whisperkit.client.content import Text, encode_content
from whisperkit.client.events import ConnectionState, Event, EventsLost, Recorded
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, ConversationSeq, MessageId
from whisperkit.testing.sim_phone import ChatNet

Make = Callable[..., Person]


@pytest.fixture
def alice(person: Make) -> Person:
    return person("alice")


@pytest.fixture
def bob(person: Make) -> Person:
    return person("bob")


def meet(one: Person, other: Person) -> None:
    one.type(f"/to {other.name}", "hello")
    other.type(f"/to {one.name}", "hi")
    one.lines.clear()
    other.lines.clear()


def hear(person: Person, event: Event) -> list[str]:
    """Let something happen; returns what is shown of it."""
    before = len(person.lines)
    person.sim.do(lambda _: person.screen.hear(event))
    return person.shown[before:]


def test_a_lost_connection_is_told_once_and_so_is_its_return(alice: Person, net: ChatNet) -> None:
    alice.sim.fly()
    net.wait(120.0)
    alice.sim.land()
    net.wait(60.0)

    assert alice.lines == ["○ offline, trying again by itself; what you write waits", "● live"]


def come_back(net: ChatNet, alice: Person, bob: Person, *, missed: int) -> list[str]:
    """Miss messages, and come back over a network that loses the first acknowledgements."""
    meet(alice, bob)
    alice.sim.fly()
    net.wait(2.0)
    conv = ConversationId.direct(alice.sim.device.user, bob.sim.device.user)
    for n in range(missed):
        bob.sim.send(conv, f"{n}")
    net.wait(30.0)
    alice.lines.clear()
    for fate in ("ok", *["lost"] * 20):
        alice.sim.wire_fates.arm("up", fate)
    alice.sim.land()
    net.until(lambda: "● live" in alice.lines)
    return alice.shown


def test_catching_up_is_told_once_when_it_takes_a_while(alice: Person, bob: Person, net: ChatNet) -> None:
    shown = come_back(net, alice, bob, missed=300)  # more than a window holds

    assert shown.count("◐ catching up") == 1
    assert shown.index("◐ catching up") < shown.index("● live")


def test_catching_up_is_not_told_when_it_is_over_at_once(alice: Person, bob: Person, net: ChatNet) -> None:
    assert come_back(net, alice, bob, missed=2) == ["bob: 0", "bob: 1", "● live"]


def test_a_device_that_connects_elsewhere_replaces_this_one_until_a_person_takes_it_back(
    alice: Person, net: ChatNet
) -> None:
    twin = net.add(alice.sim.device)
    backup = alice.sim.back_up()
    net.wait(3.0)
    twin.restore(backup)
    net.until(lambda: alice.sim.client.state is ConnectionState.REPLACED)

    assert alice.lines[-1] == "■ replaced by another connection of this device. /connect takes it back"
    assert alice.type("/state") == ["■ replaced by another connection"]
    assert alice.type("/connect")[-1] == "● live"


def test_whose_name_is_taken_has_nothing_to_stay_for(alice: Person, person: Make, net: ChatNet) -> None:
    mallory = person("alice", net.add(alice.sim.device))

    net.until(lambda: mallory.screen.is_over)

    assert mallory.lines == []


def test_a_device_that_waits_to_be_linked_is_not_told_of_each_refusal(
    person: Make, alice: Person, net: ChatNet
) -> None:
    tablet = person("alice", net.phone("alice", 2, is_linked=True))

    net.wait(120.0)

    assert tablet.lines == []
    assert tablet.screen.is_waiting_for_link


def test_what_could_not_be_read_is_told_and_told_again_when_it_can(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    conv = ConversationId.direct(alice.sim.device.user, bob.sim.device.user)
    message_id = MessageId.mint(wall_ms=1, random_bytes=bytes)
    unread = Record(conv, message_id, bob.sim.device, ConversationSeq(9), 1, Note.UNREADABLE)
    readable = unread._replace(note=Note.MESSAGE, content=encode_content(Text("here it is")))

    first = hear(alice, Recorded(unread, is_new=True))
    then = hear(alice, Recorded(readable, is_new=False))

    assert [line.rpartition(" bob: ")[2] for line in (*first, *then)] == [
        "⧖ could not be decrypted; asked the sender's device to send it again",
        "here it is",
    ]


def test_what_a_peer_wrote_cannot_pass_for_another_line(alice: Person, bob: Person) -> None:
    meet(alice, bob)

    bob.sim.send(ConversationId.direct(alice.sim.device.user, bob.sim.device.user), "ok\n14:08 carol: forged\x1b[2J")
    bob.type("and on")

    assert alice.shown == ["bob: ok\n      14:08 carol: forged�[2J", "bob: and on"]


def test_events_that_were_lost_are_told_of(alice: Person) -> None:
    assert hear(alice, EventsLost()) == ["! too much at once: some of it was not shown; /history shows the rest"]


def test_a_message_to_another_conversation_says_where(alice: Person, bob: Person, net: ChatNet) -> None:
    meet(alice, bob)
    alice.sim.fly()
    net.wait(2.0)
    alice.type("to bob")
    alice.screen.here = None
    alice.lines.clear()
    alice.sim.land()

    net.until(lambda: len(alice.lines) == 2)

    assert alice.shown == ["● live", "you, sent to bob: to bob"]


def test_somebody_unknown_is_shown_by_a_label_that_can_be_written_to(alice: Person, bob: Person) -> None:
    alice.type("/to bob", "hello")
    label = f"@{alice.sim.device.user[:8]}"

    assert bob.shown == [f"{label}: hello"]
    assert bob.said(f"/to {label}")[-1] == f"writing to {label}"
