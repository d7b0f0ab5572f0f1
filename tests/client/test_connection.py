"""How a client stands with the server: proving itself, staying away when it is told to, noticing when it is cut off."""

from __future__ import annotations

from functools import partial

import pytest

from whisperkit import DeviceId
from whisperkit.client.events import ConnectionChanged, ConnectionState, EventsLost
from whisperkit.client.standing import MAX_EVENTS, Standing
from whisperkit.errors import LinkClosedError, UsageError
from whisperkit.stores import MemoryPartitions
from whisperkit.sync import frames
from whisperkit.sync.chat import Chat
from whisperkit.sync.frames import ByeCode
from whisperkit.testing import Fault
from whisperkit.testing.sim_doors import Fates
from whisperkit.testing.sim_phone import ChatNet
from whisperkit.testing.sim_runtime import run_now


def test_a_client_is_live_only_once_it_has_caught_up(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    bob.fly()
    for n in range(5):
        alice.send(chat, f"{n}")
    net.wait(5.0)
    bob.events.clear()

    bob.land()
    assert bob.do(lambda client: client.wait_live(timeout_s=60.0))
    net.wait(1.0)

    states = [event.state for event in bob.events if isinstance(event, ConnectionChanged)]
    assert states[-2:] == [ConnectionState.CATCHING_UP, ConnectionState.LIVE]
    assert len(bob.texts(chat)) == 5


def test_waiting_for_a_connection_ends_in_time(net: ChatNet) -> None:
    alice = net.phone("alice")
    alice.fly()
    net.until(lambda: not alice.is_live)

    assert not alice.do(lambda client: client.wait_live(timeout_s=3.0))


def test_attempts_to_connect_come_less_and_less_often(net: ChatNet) -> None:
    alice = net.phone("alice")
    alice.fly()
    net.wait(300.0)

    waits = [event.retry_in_s for event in alice.events if isinstance(event, ConnectionChanged) and event.retry_in_s]

    assert waits[0] < 1.0
    assert 15.0 <= waits[-1] <= 45.0
    # Drawn in steps of 1/256, so that two of many devices hardly ever come at once; here and there two are equal.
    assert len(set(waits)) > 0.7 * len(waits)


def test_a_connection_that_was_taken_over_stays_away_until_a_person_acts(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    assert alice.link is not None
    alice.link.forge(frames.Bye(ByeCode.SUPERSEDED, None))
    net.until(lambda: alice.client.state is ConnectionState.REPLACED)
    hellos = sum(isinstance(frame, frames.Hello) for frame in alice.said)
    net.wait(300.0)
    assert sum(isinstance(frame, frames.Hello) for frame in alice.said) == hellos

    alice.client.reconnect()
    alice.client.reconnect()
    net.until(lambda: alice.is_live)

    alice.send(chat, "back")
    net.until(lambda: bob.texts(chat) == ["back"])
    assert sum(isinstance(frame, frames.Hello) for frame in alice.said) == hellos + 1


def test_a_second_process_of_a_device_takes_over_and_nothing_is_lost(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    bob.send(bob.direct(alice), "one")
    net.until(lambda: alice.texts(chat) == ["one"])
    first = alice.client
    alice.start()  # on the same store, while the first one lives
    net.until(lambda: alice.is_live and first.state is ConnectionState.REPLACED)

    bob.send(chat, "two")
    alice.send(chat, "three")
    net.until(lambda: sorted(alice.texts(chat)) == sorted(bob.texts(chat)) == ["one", "three", "two"])


def test_numbers_of_connections_rise_though_the_clock_was_set_back(net: ChatNet) -> None:
    alice = net.phone("alice")
    alice.restart()
    net.until(lambda: alice.is_live)
    number = alice.runtime.wall_ms() + 86_400_000  # as its clock said before it was set back

    alice.edit(lambda _rows: {b"n/connection": number.to_bytes(8, "big")})
    net.until(lambda: alice.is_live)
    alice.restart()
    net.until(lambda: alice.is_live)

    numbers = [frame.connection_no for frame in alice.said if isinstance(frame, frames.Hello)]
    assert numbers[-2:] == [number + 1, number + 2]
    assert numbers == sorted(set(numbers))


def test_a_device_that_is_not_linked_yet_waits_and_one_that_was_unlinked_goes(net: ChatNet) -> None:
    alice = net.phone("alice")
    tablet = net.phone("alice", 2, is_linked=True)
    net.wait(100.0)
    assert tablet.client.state is ConnectionState.OFFLINE
    key, registration_id = tablet.do(lambda client: client.identity())
    alice.do(lambda client: client.link_device(2, identity_key=key, registration_id=registration_id))
    net.until(lambda: tablet.is_live)

    alice.do(lambda client: client.unlink_device(2))
    net.until(lambda: tablet.client.state is ConnectionState.REFUSED)


def test_a_stranger_with_another_key_is_refused(net: ChatNet) -> None:
    net.phone("alice")
    impostor = net.add(DeviceId.named("alice", 1))

    net.until(lambda: impostor.client.state is ConnectionState.REFUSED)


def test_what_needs_a_connection_says_that_there_is_none(net: ChatNet) -> None:
    alice = net.phone("alice")
    alice.fly()
    net.until(lambda: not alice.is_live)

    with pytest.raises(LinkClosedError):
        alice.do(lambda client: client.link_device(2, identity_key=bytes(33), registration_id=1))


def test_a_link_that_went_silent_is_given_up(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    for _ in range(12):
        bob.wire_fates.arm("down", "lost")

    alice.send(chat, "anybody there?")

    net.until(lambda: bob.texts(chat) == ["anybody there?"])


def test_frames_of_a_server_that_makes_no_sense_end_the_link_and_nothing_else(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    for frame in (frames.Registered(), frames.Challenge(1, bytes(32))):
        assert alice.link is not None
        alice.link.forge(frame)
        net.wait(5.0)
        net.until(lambda: alice.is_live)

    alice.send(chat, "still here")
    net.until(lambda: bob.texts(chat) == ["still here"])


def test_a_listener_that_is_too_slow_is_told_so_and_holds_a_bounded_queue(net: ChatNet) -> None:
    standing = Standing(MemoryPartitions(), DeviceId.named("alice", 1), net.server.runtime)
    box = standing.listen()

    for _ in range(2 * MAX_EVENTS):
        standing.tell(ConnectionChanged(ConnectionState.LIVE))

    assert len(box) <= MAX_EVENTS + 1
    assert isinstance(run_now(box.get()), EventsLost)


def test_too_many_users_cannot_be_watched(net: ChatNet) -> None:
    alice = net.phone("alice")

    with pytest.raises(UsageError, match="101"):
        alice.client.watch([DeviceId.named(f"{n}", 1).user for n in range(101)])


def test_a_client_that_stops_leaves_the_rest_for_the_next_time(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.do(lambda client: client.stop())
    net.wait(1.0)
    alice.send(chat, "written after the end")
    net.wait(30.0)
    assert bob.texts(chat) == []

    alice.restart()
    net.until(lambda: bob.texts(chat) == ["written after the end"])


def test_a_new_device_publishes_prekeys_before_it_asks_for_anything(net: ChatNet) -> None:
    bob = net.phone("bob")

    said = [type(frame) for frame in bob.said]
    assert said.index(frames.Publish) < said.index(frames.Devices)  # it may leave at any moment


def test_prekeys_are_made_anew_when_they_run_low(net: ChatNet) -> None:
    bob = net.phone("bob")
    published = sum(isinstance(frame, frames.Publish) for frame in bob.said)

    for n in range(40):
        friend = net.phone(f"friend {n}")
        chat = friend.direct(bob)
        friend.send(chat, "hello")
        net.until(lambda chat=chat: bob.texts(chat) == ["hello"])  # type: ignore[misc]
        friend.crash()

    assert sum(isinstance(frame, frames.Publish) for frame in bob.said) > published
    assert not any(
        frame.keys.is_last_resort
        for phone in net.phones
        for frame in phone.heard
        if isinstance(frame, frames.Bundle) and frame.keys is not None
    )


def test_a_client_that_was_stopped_is_offline_and_can_be_started_again(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)

    bob.do(lambda client: client.stop())
    stopped = bob.client.state
    alice.send(chat, "while you were off")
    net.wait(5.0)
    bob.do(lambda client: client.start())
    is_live_at_once = bob.do(lambda client: client.wait_live(timeout_s=0.0))
    bob.do(lambda client: client.start())  # a second time: without effect
    net.until(lambda: bob.texts(chat) == ["while you were off"])

    assert (stopped, is_live_at_once) == (ConnectionState.OFFLINE, False)
    assert bob.runtime.tasks < 8


@pytest.mark.parametrize("is_new", [True, False])
def test_a_client_that_is_stopped_while_it_answers_the_challenge_says_nothing(net: ChatNet, is_new: bool) -> None:
    if is_new:
        net.server.crash()
        phone = net.add(DeviceId.named("bob", 1))  # has its keys, and has not met the server
        net.wait(1.0)
    else:
        phone = net.phone("bob")
    phone.do(lambda client: client.stop())
    greeter = phone.client._greeter  # pyright: ignore[reportPrivateUsage]  # its task ends a moment later than the session
    before = len(phone.said)

    phone.do(lambda _client: greeter.greet(frames.Challenge(frames.PROTOCOL_VERSION, bytes(32))))

    assert len(phone.said) == before


class Watched(Fates):
    """Tells of each commit when the store has made it, and its answer is still on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0

    def next(self, door: str) -> Fault:
        self.commits += door == "commit"
        return super().next(door)


def test_what_a_person_does_during_the_greeting_does_not_undo_it(net: ChatNet, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "one")
    net.until(lambda: bob.texts(chat) == ["one"])
    bob.fly()
    fates = bob.fates = Watched()
    bob.restart()
    net.wait(2.0)
    reader = bob.client._reader  # pyright: ignore[reportPrivateUsage]
    chats, happened = reader.chats, list[str]()

    async def chats_while_somebody_reads() -> list[Chat]:
        found = await chats()
        if not happened:
            happened.append("read")
            before = fates.commits
            bob.runtime.spawn(partial(bob.client.mark_read, chat, 2), name="person")
            while fates.commits == before:
                await bob.runtime.sleep(0.000_1)
        return found

    monkeypatch.setattr(reader, "chats", chats_while_somebody_reads)
    bob.land()

    net.until(lambda: bob.is_live, within_s=10.0)
    assert happened


def test_a_conversation_that_was_closed_stays_closed(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "one")
    net.until(lambda: bob.texts(chat) == ["one"])

    bob.runtime.spawn(lambda: bob.client.open_chat(chat), name="person")
    net.wait(0.005)
    bob.client.close_chat(chat)
    net.wait(5.0)

    assert not bob.client._at.mirror.opened  # pyright: ignore[reportPrivateUsage]
