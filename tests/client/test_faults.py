"""A client over a store that fails, a network that loses, and a life that ends at any moment."""

from __future__ import annotations

import pytest

from whisperkit import ConversationId, MessageId
from whisperkit.receipts import MessageStatus
from whisperkit.sync import frames
from whisperkit.sync.frames import Frame, RefusalReason
from whisperkit.testing import Fault
from whisperkit.testing.sim_phone import ChatNet, SimPhone

# A conversation of a few messages takes so many commits on a phone; each of them is cut off once.
COMMITS = 9


def talk(net: ChatNet, alice: SimPhone, bob: SimPhone) -> tuple[ConversationId, list[str]]:
    """Let both write in turn, whatever becomes of one of them; what was handed over must arrive."""
    chat = alice.direct(bob)
    for n in range(3):
        alice.send(chat, f"a{n}")
        net.wait(0.3)
        bob.send(bob.direct(alice), f"b{n}")
        net.wait(0.3)
    return chat, [f"{who}{n}" for n in range(3) for who in "ab"]


def revive(*phones: SimPhone) -> None:
    for phone in phones:
        phone.fates.disarm()
        if not phone.runtime.is_alive:
            phone.restart()


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("skip", range(COMMITS))
def test_a_crash_at_any_commit_of_the_receiver_loses_and_doubles_nothing(net: ChatNet, fault: Fault, skip: int) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    for _ in range(skip):
        bob.fates.arm("commit", Fault.NONE)
    bob.fates.arm("commit", fault)

    sent = [alice.send(chat, f"{n}") for n in range(6)]
    net.wait(3.0)
    revive(bob)
    net.until(lambda: alice.status(chat, sent[-1]) is MessageStatus.DELIVERED)

    assert bob.texts(chat) == [f"{n}" for n in range(6)]


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("skip", range(COMMITS))
def test_a_crash_at_any_commit_of_the_sender_loses_and_doubles_nothing_that_was_taken(
    net: ChatNet, fault: Fault, skip: int
) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.fly()
    net.wait(1.0)
    for n in range(6):
        alice.send(chat, f"{n}")
    for _ in range(skip):
        alice.fates.arm("commit", Fault.NONE)
    alice.fates.arm("commit", fault)

    alice.land()
    net.wait(40.0)
    revive(alice)
    net.until(lambda: len(bob.texts(chat)) == 6)
    net.wait(60.0)

    assert bob.texts(chat) == [f"{n}" for n in range(6)] == alice.texts(chat)


@pytest.mark.parametrize("fault", [Fault.CONFLICT, Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER])
@pytest.mark.parametrize("door", ["commit", "read"])
def test_a_store_that_fails_now_and_then_costs_time_only(net: ChatNet, fault: Fault, door: str) -> None:
    if (fault, door) == (Fault.CONFLICT, "read"):
        fault = Fault.NONE
    alice, bob = net.phone("alice"), net.phone("bob")

    def damage() -> None:
        for phone in (alice, bob):
            for _ in range(4):
                for _ in range(3):
                    phone.fates.arm(door, Fault.NONE)
                phone.fates.arm(door, fault)

    chat = alice.direct(bob)
    for n in range(6):
        damage()
        alice.send(chat, f"{n}")
        net.wait(0.5)
    net.until(lambda: len(bob.texts(chat)) == 6)

    assert bob.texts(chat) == [f"{n}" for n in range(6)] == alice.texts(chat)


def test_a_store_that_is_away_for_a_while_is_waited_for(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "before")
    net.until(lambda: bob.texts(chat) == ["before"])
    for _ in range(200):
        bob.fates.arm("commit", Fault.UNKNOWN_BEFORE)
        bob.fates.arm("read", Fault.UNKNOWN_BEFORE)

    alice.send(chat, "meanwhile")
    net.wait(20.0)
    bob.fates.disarm()

    net.until(lambda: bob.texts(chat) == ["before", "meanwhile"])


@pytest.mark.parametrize("fate", ["lost", "doubled", "late"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_damaged_wire_costs_time_only(net: ChatNet, way: str, fate: str) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    expected: list[str] = []

    for n in range(8):
        for phone in (alice, bob):
            phone.wire_fates.arm(way, fate)
        alice.send(chat, f"{n}")
        expected.append(f"{n}")
        net.wait(1.0)
    net.until(lambda: len(bob.texts(chat)) == 8)
    net.wait(60.0)

    assert bob.texts(chat) == expected == alice.texts(chat)


@pytest.mark.parametrize("seed", range(6))
def test_phones_that_die_at_random_agree_in_the_end(seed: int) -> None:
    net = ChatNet(seed=seed)
    phones = [net.phone(name) for name in ("alice", "bob", "carol")]
    group = phones[0].group(*phones[1:])
    net.until(lambda: all(phone.records(group) for phone in phones))
    random = net.server.runtime
    expected: list[str] = []

    for n in range(18):
        writer = phones[n % 3]
        writer.send(group, f"{n}")
        expected.append(f"{n}")
        victim = phones[int(random.chance() * 3)]
        match int(random.chance() * 4):
            case 0:
                victim.restart()
                net.wait(1.0)
            case 1:
                victim.fly()
                net.wait(0.5)
                victim.land()
            case 2:
                victim.wire_fates.arm("down" if random.chance() < 0.5 else "up", "lost")
            case _:
                pass
        net.wait(random.chance())
    net.until(lambda: all(len(phone.texts(group)) == len(expected) for phone in phones), within_s=600.0)
    net.until(lambda: all("?" not in phone.texts(group) for phone in phones), within_s=600.0)
    net.wait(60.0)  # for answers that were lost
    shown = [phone.texts(group) for phone in phones]
    net.close()

    assert shown[0] == shown[1] == shown[2]
    assert sorted(shown[0]) == sorted(expected)


def test_the_server_may_die_in_mid_conversation(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)

    for n in range(6):
        alice.send(chat, f"{n}")
        net.wait(0.05)
        if n % 2:
            net.server.crash()
            alice.link.cut() if alice.link else None
            bob.link.cut() if bob.link else None
            net.server.start()
    net.until(lambda: len(bob.texts(chat)) == 6)

    assert bob.texts(chat) == [f"{n}" for n in range(6)]


def test_a_server_that_says_goodbye_is_come_back_to(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    assert bob.link is not None
    bob.link.forge(frames.Bye(frames.ByeCode.TRY_LATER, 20))
    net.wait(10.0)
    said_before = len(bob.said)
    alice.send(chat, "hello")
    net.until(lambda: bob.texts(chat) == ["hello"])

    assert net.world.now > 20.0
    assert any(isinstance(frame, frames.Hello) for frame in bob.said[said_before:])


def test_a_server_that_lost_its_last_minutes_gets_them_again(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat, group = alice.direct(bob), alice.group(bob, net.phone("carol"))
    for n in range(3):
        alice.send(chat, f"{n}")
    alice.send(group, "before")
    net.until(lambda: bob.texts(chat) == ["0", "1", "2"] and bob.texts(group) == ["before"])
    net.server.back_up()
    for n in range(3, 6):
        alice.send(chat, f"{n}")
        bob.send(chat, f"b{n}")
    alice.send(group, "lost")
    net.until(lambda: len(bob.texts(chat)) == 9 and bob.texts(group) == ["before", "lost"])

    net.server.restore()
    for phone in net.phones:
        phone.restart()
    net.until(lambda: alice.is_live and bob.is_live)
    net.wait(60.0)
    last = alice.send(chat, "after")
    net.until(lambda: alice.status(chat, last) is MessageStatus.DELIVERED)

    everything = sorted([*"012345", "b3", "b4", "b5", "after"])
    assert sorted(alice.texts(chat)) == sorted(bob.texts(chat)) == everything
    assert sorted(net.phones[2].texts(group)) == sorted(bob.texts(group)) == ["before", "lost"]
    tablet = net.linked(bob, name="bob")
    assert tablet.is_live


def test_the_last_message_of_all_may_be_lost_on_its_way_down(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "first")
    net.until(lambda: bob.texts(chat) == ["first"])
    net.wait(5.0)
    link = bob.link
    said = len(bob.said)

    bob.wire_fates.arm("down", "lost")
    alice.send(chat, "nobody writes after this")
    net.until(lambda: bob.texts(chat)[-1:] == ["nobody writes after this"], within_s=60.0)

    assert bob.link is link  # it asked for what was missing, on the same connection
    assert any(isinstance(frame, frames.Pull) for frame in bob.said[said:])


@pytest.mark.parametrize("reason", [RefusalReason.INVALID, RefusalReason.TOO_LARGE, RefusalReason.NOT_MEMBER])
def test_a_message_that_is_refused_for_good_fails_and_says_why(net: ChatNet, reason: RefusalReason) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "first")
    net.until(lambda: bob.texts(chat) == ["first"])
    sent = refused_by_forgery(net, alice, chat, reason, is_lost=True)

    net.until(lambda: alice.status(chat, sent) is MessageStatus.FAILED)
    net.wait(60.0)
    alice.send(chat, "next")
    net.until(lambda: bob.texts(chat)[-1:] == ["next"])

    record = next(one for one in alice.records(chat) if one.message_id == sent)
    assert record.failed == reason.name.lower().replace("_", " ")
    assert bob.texts(chat) == ["first", "next"]


def test_a_message_that_got_through_though_it_was_refused_has_not_failed(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "first")
    net.until(lambda: bob.texts(chat) == ["first"])

    sent = refused_by_forgery(net, alice, chat, RefusalReason.INVALID, is_lost=False)
    net.until(lambda: bob.texts(chat)[-1:] == ["refused"])
    net.until(lambda: alice.status(chat, sent) >= MessageStatus.DELIVERED)

    assert alice.texts(chat) == bob.texts(chat)


def refused_by_forgery(
    net: ChatNet, phone: SimPhone, chat: ConversationId, reason: RefusalReason, *, is_lost: bool
) -> MessageId:
    """Send a message, and let the phone hear that it was refused, whatever became of it."""
    if is_lost:
        phone.wire_fates.arm("up", "lost")
    phone.wire_fates.arm("down", "lost")
    sent = phone.send(chat, "refused")

    def send() -> frames.Send | None:
        return next((one for one in phone.said if isinstance(one, frames.Send) and one.message_id == sent), None)

    net.until(lambda: send() is not None)
    found = send()
    assert found is not None
    assert phone.link is not None
    phone.wire_fates.disarm()
    phone.link.forge(frames.Refused(chat, found.outbox_epoch, found.outbox_seq, sent, reason, 0, (), ()))
    return sent


def test_a_welcome_that_was_lost_is_not_waited_for_for_ever(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    bob.fly()
    alice.send(chat, "while you flew")
    net.wait(5.0)

    for fate in ("", "lost"):  # the challenge arrives
        bob.wire_fates.arm("down", fate)
    bob.land()

    net.until(lambda: bob.texts(chat) == ["while you flew"], within_s=90.0)


def test_an_acknowledgement_that_was_lost_is_said_again(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "first")
    net.until(lambda: bob.texts(chat) == ["first"])
    net.wait(5.0)

    def is_saying(frame: Frame) -> None:
        if isinstance(frame, frames.Ack):
            bob.is_saying = lambda _frame: None
            bob.wire_fates.arm("up", "lost")

    bob.is_saying = is_saying
    sent = alice.send(chat, "nobody writes after this")
    net.until(lambda: alice.status(chat, sent) is MessageStatus.DELIVERED, within_s=90.0)

    assert not bob.wire_fates.next("up")
