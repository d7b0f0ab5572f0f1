"""What a person has to be told of devices is told until they have seen it, whatever crashes."""

from __future__ import annotations

import pytest

from whisperkit import ConversationId
from whisperkit.client.events import DeviceLinked, EventsLost, IdentityChanged, Notice
from whisperkit.client.standing import MAX_EVENTS
from whisperkit.testing import Fault
from whisperkit.testing.sim_phone import ChatNet, SimPhone

# So many commits it takes to send to somebody with a new device, and to hear of it; each of them is cut off once.
COMMITS = {"by its list": 8, "by its message": 3}


def told(phone: SimPhone) -> list[Notice]:
    """What a phone was told of devices, in all of its lives."""
    return [event for event in phone.events if isinstance(event, DeviceLinked | IdentityChanged)]


def somebody_gets_a_tablet(net: ChatNet) -> tuple[SimPhone, SimPhone, ConversationId]:
    """Alice, and Bob's tablet, of which her phone has not heard."""
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "hello")
    net.until(lambda: bob.texts(chat) == ["hello"])
    tablet = net.linked(bob, name="bob")
    return alice, tablet, chat


def restart(net: ChatNet, phone: SimPhone) -> list[Notice]:
    """Die and come back; returns what is told in the new life."""
    phone.events.clear()
    phone.restart()
    net.until(lambda: phone.is_live)
    net.wait(5.0)
    return told(phone)


def test_what_nobody_has_seen_is_told_again_after_a_restart_and_what_was_seen_is_not(net: ChatNet) -> None:
    alice, tablet, chat = somebody_gets_a_tablet(net)
    alice.send(chat, "both")
    net.until(lambda: tablet.texts(chat)[-1:] == ["both"])
    (notice,) = told(alice)

    again = restart(net, alice)
    alice.do(lambda client: client.noticed(notice))
    after = restart(net, alice)

    assert again == [notice]
    assert after == []
    assert alice.client.notices == ()


def test_notices_come_in_the_order_in_which_they_were_made(net: ChatNet) -> None:
    alice, tablet, chat = somebody_gets_a_tablet(net)
    alice.send(chat, "one")
    net.until(lambda: tablet.texts(chat)[-1:] == ["one"])
    laptop = net.linked(net.phones[1], 3, name="bob")
    alice.send(chat, "two")
    net.until(lambda: laptop.texts(chat)[-1:] == ["two"])

    live = told(alice)

    assert [one.device for one in live] == [tablet.device, laptop.device]
    assert restart(net, alice) == live


def test_a_listener_that_comes_late_begins_with_what_nobody_has_seen(net: ChatNet) -> None:
    alice, tablet, chat = somebody_gets_a_tablet(net)
    alice.send(chat, "both")
    net.until(lambda: tablet.texts(chat)[-1:] == ["both"])

    late = alice.client.events()

    assert len(late) == 1
    assert alice.do(lambda _: late.get()) == told(alice)[0]


def test_what_was_dropped_with_other_events_can_still_be_looked_at(net: ChatNet) -> None:
    alice, tablet, chat = somebody_gets_a_tablet(net)
    slow = alice.client.events()
    alice.send(chat, "both")
    net.until(lambda: tablet.texts(chat)[-1:] == ["both"])
    for _ in range(MAX_EVENTS):
        slow.put(EventsLost())

    assert len(slow) <= MAX_EVENTS
    assert list(alice.client.notices) == told(alice)


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER])
@pytest.mark.parametrize(
    ("found", "skip"), [(found, skip) for found, count in COMMITS.items() for skip in range(count)]
)
def test_a_fault_at_any_commit_neither_loses_nor_doubles_a_notice(
    net: ChatNet, fault: Fault, found: str, skip: int
) -> None:
    alice, tablet, chat = somebody_gets_a_tablet(net)
    for _ in range(skip):
        alice.fates.arm("commit", Fault.NONE)
    alice.fates.arm("commit", fault)

    if found == "by its message":
        tablet.send(chat, "guess who")
    else:
        alice.runtime.spawn(lambda: write(alice, chat), name="person")
    net.wait(20.0)
    live = told(alice)
    alice.fates.disarm()
    again = restart(net, alice)
    alice.send(chat, "now")
    net.until(lambda: "now" in tablet.texts(chat))
    net.wait(90.0)

    assert len(live) <= 1
    assert live in ([], again)
    assert [one.device for one in told(alice)] == [tablet.device]


async def write(phone: SimPhone, chat: ConversationId) -> None:
    await phone.client.send(chat, "both")


def test_a_notice_of_a_commit_that_failed_for_all_that_is_known_is_told_once_it_is_found(net: ChatNet) -> None:
    alice, tablet, chat = somebody_gets_a_tablet(net)
    for _ in range(8):  # all attempts at one commit: the first one has happened
        alice.fates.arm("commit", Fault.UNKNOWN_AFTER)
        alice.fates.arm("read", Fault.UNKNOWN_BEFORE)

    tablet.send(chat, "guess who")
    net.until(lambda: "guess who" in alice.texts(chat))
    net.wait(5.0)

    assert [one.device for one in told(alice)] == [tablet.device]


def test_a_notice_that_took_the_place_of_one_that_is_being_seen_stays(net: ChatNet) -> None:
    alice, tablet, chat = somebody_gets_a_tablet(net)
    alice.send(chat, "both")
    net.until(lambda: tablet.texts(chat)[-1:] == ["both"])
    (notice,) = told(alice)
    older = notice._replace(identity_key=bytes(33))

    alice.do(lambda client: client.noticed(older))

    assert list(alice.client.notices) == [notice] == restart(net, alice)
